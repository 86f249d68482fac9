// SPDX-License-Identifier: Apache-2.0
// `trace`: the ways of frames as they come, as text or as one array.
#pragma once

#include <iosfwd>

#include "control/ctl/command_line.h"

namespace vmnat::ctl {

Exit print_trace(const CommandLine& line, std::ostream& out, std::ostream& err);

// One frame and its steps, in lines:
//
//     frame 1 at vm1, 60 bytes: 192.168.122.10:4000 > 198.51.100.2:53 udp, ttl 64
//          0.0 us  worker 0  received     at vm1
//          1.2 us  worker 0  parse        UDP
std::string trace_text(const nlohmann::json& frame);

}  // namespace vmnat::ctl
