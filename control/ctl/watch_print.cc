// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/watch_print.h"

#include <fmt/format.h>
#include <ostream>

#include "control/ctl/conntrack_text.h"
#include "control/ctl/exits.h"
#include "control/ctl/follow.h"

namespace vmnat::ctl {

Exit print_session_events(const CommandLine& line, std::ostream& out, std::ostream& err) {
  const auto print = [&](const nlohmann::json& event, std::string_view text) {
    if (line.json)
      out << text << '\n';
    else
      out << conntrack_event_line(event);
  };
  const auto missed = follow_elements(line, "event", print, out);
  if (!missed) return fail(missed.error(), err);
  if (*missed != 0) err << fmt::format("vmnatctl: {} events came too fast and are missing\n", *missed);
  return Exit::Ok;
}

}  // namespace vmnat::ctl
