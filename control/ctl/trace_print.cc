// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/trace_print.h"

#include <fmt/format.h>
#include <ostream>

#include "control/ctl/exits.h"
#include "control/ctl/follow.h"
#include "control/ctl/json_at.h"

namespace vmnat::ctl {

using nlohmann::json;
std::string trace_text(const json& frame) {
  std::string text = fmt::format("frame {} at {}, {} bytes: {}\n", frame.value("number", 0),
                                 text_at(frame, "port"), frame.value("length", 0), text_at(frame, "frame"));
  bool is_first = true;
  for (const json& step : frame.value("steps", json::array())) {
    text += fmt::format("{:10.1f} us  worker {}  {:<12} {}", step.value("us", 0.0), step.value("worker", 0),
                        text_at(step, "step"), text_at(step, "says"));
    if (const std::string now = text_at(step, "frame"); !now.empty() && !is_first)
      text += (text.back() == ' ' ? "" : "; ") + now;
    while (text.back() == ' ') text.pop_back();
    text += '\n';
    is_first = false;
  }
  if (text_at(frame, "outcome").empty()) text += "               its end was not seen\n";
  return text;
}

// An array that broke off is left open: it must not look like the whole.
Exit print_trace(const CommandLine& line, std::ostream& out, std::ostream& err) {
  bool is_empty = true;
  const auto print = [&](const json& frame, std::string_view text) {
    if (line.json)
      out << (is_empty ? "[\n" : ",\n") << text;
    else
      out << (is_empty ? "" : "\n") << trace_text(frame);
    is_empty = false;
  };
  const auto missed = follow_elements(line, "steps", print, out);
  if (!missed) return fail(missed.error(), err);
  if (line.json) out << (is_empty ? "[]" : "\n]") << '\n';
  if (*missed != 0) err << fmt::format("vmnatctl: {} steps are missing\n", *missed);
  return Exit::Ok;
}

}  // namespace vmnat::ctl
