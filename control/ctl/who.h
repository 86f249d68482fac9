// SPDX-License-Identifier: Apache-2.0
// `who ADDRESS:PORT`: which VM had the external endpoint, as the file of the log of translations tells, with those that it
// was rotated to.
#pragma once

#include <iosfwd>

#include "control/ctl/command_line.h"

namespace vmnat::ctl {

Exit print_who(const CommandLine& line, std::ostream& out, std::ostream& err);

}  // namespace vmnat::ctl
