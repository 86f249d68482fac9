// SPDX-License-Identifier: Apache-2.0
// vmnatctl as a function: arguments in, text and exit code out.
//
// Exit codes: 0 ok, 1 the daemon refused or broke off, 2 wrong usage, 3 no daemon could be reached. Of `doctor`: 0
// nothing found, 1 something found, 2 wrong usage, or nothing could be asked.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace vmnat::ctl {

int run_vmnatctl(const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err);

}  // namespace vmnat::ctl
