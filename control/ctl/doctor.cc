// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/doctor.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <ostream>
#include <tl/expected.hpp>
#include <unistd.h>

#include "control/admin/client.h"
#include "control/doctor/report.h"

namespace vmnat::ctl {
namespace {

using Json = nlohmann::json;
using doctor::Offline;
using List = std::vector<Json>;
using Asked = tl::expected<List, admin::CallError>;

// The look at the host takes vmnatd a second at most, on any machine that is well.
constexpr std::chrono::seconds kPatience{20};

Asked ask(const CommandLine& line) {
  List findings;
  const auto kind = admin::call(
      line.socket, "doctor", Json::object(),
      [&](admin::Answer::Kind, std::string_view text) {
        findings.push_back(Json::parse(text, nullptr, false));
      },
      kPatience);
  if (!kind) return tl::unexpected(kind.error());
  return findings;
}

Exit cannot_ask(const std::string& why, std::ostream& err) {
  err << "vmnatctl: " << why << '\n';
  return Exit::Usage;
}

List without_vmnatd(const CommandLine& line, Offline::Why why, const std::string& seen) {
  List findings;
  for (const doctor::Finding& finding : doctor::examine_offline({why, seen, line.config}))
    findings.push_back(to_json(finding));
  return findings;
}

// A daemon that is there, and whose door is shut to whoever asks, would say more than they can see.
bool is_shut(const std::string& socket) {
  return access(socket.c_str(), W_OK) != 0 && errno == EACCES;
}

bool is_found(const Json& finding) {
  return finding.value("severity", "") != "note";
}

Exit print(const List& findings, const CommandLine& line, std::ostream& out) {
  out << (line.json ? Json(findings).dump() + "\n" : findings_text(findings));
  return std::ranges::any_of(findings, is_found) ? Exit::DaemonError : Exit::Ok;
}

}  // namespace

std::string findings_text(const List& findings) {
  std::size_t severity_width = 0, id_width = 0;
  for (const Json& finding : findings) {
    severity_width = std::max(severity_width, finding.value("severity", "").size());
    id_width = std::max(id_width, finding.value("id", "").size());
  }
  std::string text;
  for (const Json& finding : findings) {
    text += fmt::format("{:<{}}  {:<{}}  {}: {}\n", finding.value("severity", ""), severity_width,
                        finding.value("id", ""), id_width, finding.value("object", ""),
                        finding.value("seen", ""));
    text += fmt::format("{:<{}}  means  {}\n", "", severity_width, finding.value("means", ""));
    text += fmt::format("{:<{}}  mend   {}\n", "", severity_width, finding.value("mend", ""));
  }
  if (std::ranges::none_of(findings, is_found)) text += "nothing found\n";
  return text;
}

Exit print_doctor(const CommandLine& line, std::ostream& out, std::ostream& err) {
  using Kind = admin::CallError::Kind;
  auto why = Offline::Why::NotAsked;
  std::string seen;
  if (!line.is_offline) {
    const Asked asked = ask(line);
    if (asked) return print(*asked, line, out);
    seen = asked.error().what;
    if (asked.error().kind == Kind::Refused || is_shut(line.socket)) return cannot_ask(seen, err);
    why = asked.error().kind == Kind::BrokenOff ? Offline::Why::Silent : Offline::Why::NotRunning;
  }
  if (access(line.config.c_str(), R_OK) != 0)
    return cannot_ask(fmt::format("{}{}{} cannot be read; --config names another file", seen,
                                  seen.empty() ? "" : "; ", line.config),
                      err);
  return print(without_vmnatd(line, why, seen), line, out);
}

}  // namespace vmnat::ctl
