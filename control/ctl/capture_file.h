// SPDX-License-Identifier: Apache-2.0
// `capture`: the stream of the daemon into a file, or to standard output for a reader such as wireshark.
#pragma once

#include <iosfwd>

#include "control/ctl/command_line.h"

namespace vmnat::ctl {

// Until the reader of the output has gone, a signal comes, or the daemon has no more. What there is is a whole file
// each time; how many frames are in it, and how many are missing, stands on `err`.
Exit write_capture(const CommandLine& line, std::ostream& out, std::ostream& err);

}  // namespace vmnat::ctl
