// SPDX-License-Identifier: Apache-2.0
// The persistent edits as a file of control.state_dir, `overlay.yaml`:
//
//   # vmnat overlay 1, checksum 3f0c9a51d2e67b84. Written by vmnatd; change it by vmnatctl.
//   - {"removes": "port", "network": "default", "name": "vm1"}
//   - {"adds": "port", "network": "default", "name": "vm9", "value": {"name": "vm9", "device": "veth9"}}
//   - {"replaces": "network", "network": "lab", "name": "lab", "value": {...}}
//
// The file is replaced as a whole, durably. Its checksum (FNV-1a, 64 bits) covers all but the first line: a file
// with any byte changed, or cut, is refused as a whole, and put aside under another name for a person to look at.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/changes/edit.h"
#include "control/result.h"
#include "control/system/whole_file.h"

namespace vmnat::control {

std::string overlay_path(const std::string& state_dir);

std::string overlay_text(const std::vector<Edit>& edits);
// An Error without a place says what is wrong with the text.
Result<std::vector<Edit>> read_overlay_text(std::string_view text);

// No file is an empty overlay.
Result<std::vector<Edit>> read_overlay(const std::string& path);
// Writes it beside the file, to be put in its place.
Result<FreshFile> write_overlay(const std::string& path, const std::vector<Edit>& edits);

// Moves the file to PATH.aside, or PATH.aside-2 and so on where there is one already; answers where it is now.
Result<std::string> set_aside(const std::string& path);
// The same with a copy: the file stays.
Result<std::string> copy_aside(const std::string& path);

}  // namespace vmnat::control
