// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/follow.h"

#include <csignal>
#include <nlohmann/json.hpp>
#include <ostream>
#include <unistd.h>

namespace vmnat::ctl {

using nlohmann::json;

tl::expected<std::uint64_t, admin::CallError> follow_elements(const CommandLine& line, const char* key,
                                                              const PrintElement& print, std::ostream& out) {
  std::signal(SIGPIPE, SIG_IGN);
  json summary;
  const auto take = [&](std::string_view text) {
    json element = json::parse(text, nullptr, false);
    if (!element.is_object() || !element.contains(key)) {
      summary = std::move(element);
      return true;
    }
    print(element, text);
    return static_cast<bool>(out.flush());
  };
  const auto followed = admin::follow(
      line.socket, line.command, line.arguments,
      {.on_element = take, .on_bytes = [](std::string_view) { return true; }, .output = STDOUT_FILENO});
  if (!followed) return tl::unexpected(followed.error());
  return summary.is_object() ? summary.value("missed", std::uint64_t{0}) : 0;
}

}  // namespace vmnat::ctl
