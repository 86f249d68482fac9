// SPDX-License-Identifier: Apache-2.0
// `sessions --watch`: what becomes of sessions, a line an event, until it is ended.
#pragma once

#include <iosfwd>

#include "control/ctl/command_line.h"

namespace vmnat::ctl {

// As conntrack(8) -E writes them, or each as a JSON object.
Exit print_session_events(const CommandLine& line, std::ostream& out, std::ostream& err);

}  // namespace vmnat::ctl
