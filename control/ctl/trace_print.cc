// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/trace_print.h"

#include <csignal>
#include <fmt/format.h>
#include <ostream>
#include <unistd.h>

#include "control/admin/client.h"
#include "control/ctl/exits.h"

namespace vmnat::ctl {
namespace {

using nlohmann::json;

std::string text_at(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

}  // namespace

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
  std::signal(SIGPIPE, SIG_IGN);
  json summary;
  bool is_empty = true;
  const admin::StreamReader reader{.on_element =
                                       [&](std::string_view element) {
                                         const json frame = json::parse(element, nullptr, false);
                                         if (!frame.is_object() || !frame.contains("steps")) {
                                           summary = frame;
                                           return true;
                                         }
                                         if (line.json)
                                           out << (is_empty ? "[\n" : ",\n") << element;
                                         else
                                           out << (is_empty ? "" : "\n") << trace_text(frame);
                                         is_empty = false;
                                         return static_cast<bool>(out.flush());
                                       },
                                   .on_bytes = [](std::string_view) { return true; },
                                   .output = STDOUT_FILENO};
  const auto followed = admin::follow(line.socket, line.command, line.arguments, reader);
  if (!followed) return fail(followed.error(), err);
  if (line.json) out << (is_empty ? "[]" : "\n]") << '\n';
  if (const auto missed = summary.is_object() ? summary.value("missed", 0ULL) : 0; missed != 0)
    err << fmt::format("vmnatctl: {} steps are missing\n", missed);
  return Exit::Ok;
}

}  // namespace vmnat::ctl
