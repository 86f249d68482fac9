// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

namespace vmnat::ctl {

// What is in the file, or comes on standard input for "-"; nothing when it cannot be read.
std::optional<std::string> text_in(const std::string& path);

}  // namespace vmnat::ctl
