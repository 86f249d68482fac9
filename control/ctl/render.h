// SPDX-License-Identifier: Apache-2.0
// The daemon's answers as text for people: pure functions of the JSON, whose shapes are in
// control/admin/README.md. Lists are tables: their columns stand in the rows of control/admin/commands.h.
#pragma once

#include <string>
#include <string_view>

#include "control/ctl/table.h"

namespace vmnat::ctl {

// The answer of a command that answers an object: `status` in lines, `flush` in a sentence. A command without
// a text of its own is printed as JSON.
std::string object_text(std::string_view command, const Json& object);

// "worker 0: parse 21.5, switch 11.7, ... cycles a packet", of a daemon built to count that; else nothing.
std::string stages_text(const Json& worker);

}  // namespace vmnat::ctl
