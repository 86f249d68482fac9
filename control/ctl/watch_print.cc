// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/watch_print.h"

#include <csignal>
#include <fmt/format.h>
#include <ostream>
#include <unistd.h>

#include "control/admin/client.h"
#include "control/ctl/conntrack_text.h"
#include "control/ctl/exits.h"

namespace vmnat::ctl {

using nlohmann::json;

Exit print_session_events(const CommandLine& line, std::ostream& out, std::ostream& err) {
  std::signal(SIGPIPE, SIG_IGN);
  json summary;
  const auto print = [&](std::string_view element) {
    const json event = json::parse(element, nullptr, false);
    if (!event.is_object() || !event.contains("event")) {
      summary = event;
      return true;
    }
    if (line.json)
      out << element << '\n';
    else
      out << conntrack_event_line(event);
    return static_cast<bool>(out.flush());
  };
  const auto followed = admin::follow(
      line.socket, line.command, line.arguments,
      {.on_element = print, .on_bytes = [](std::string_view) { return true; }, .output = STDOUT_FILENO});
  if (!followed) return fail(followed.error(), err);
  if (const auto missed = summary.is_object() ? summary.value("missed", 0ULL) : 0; missed != 0)
    err << fmt::format("vmnatctl: {} events came too fast and are missing\n", missed);
  return Exit::Ok;
}

}  // namespace vmnat::ctl
