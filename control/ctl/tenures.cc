// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/tenures.h"

#include <ctime>
#include <fmt/chrono.h>
#include <iomanip>
#include <sstream>

#include "control/config/values.h"
#include "control/ctl/json_at.h"

namespace vmnat::ctl {

using nlohmann::json;

namespace {

// Of a session its protocol and both of its ends outside, of a block its first port.
std::string identity_of(const json& line) {
  const auto first = line.find("first_port");
  if (first != line.end()) return "block " + text_at(line, "external") + ' ' + first->dump();
  return text_at(line, "protocol") + ' ' + text_at(line, "external") + ' ' + text_at(line, "remote");
}

json text_or_null(const std::string& text) {
  return text.empty() ? json() : json(text);
}

constexpr std::uint64_t kLastSecond = 253'402'300'799;  // of the year 9999

// What stands behind ".125", of which three digits count.
std::string_view without_fraction(std::string_view rest, std::chrono::milliseconds& fraction) {
  if (!rest.starts_with('.')) return rest;
  rest.remove_prefix(1);
  for (int scale = 100; !rest.empty() && rest.front() >= '0' && rest.front() <= '9'; scale /= 10) {
    fraction += std::chrono::milliseconds(scale * (rest.front() - '0'));
    rest.remove_prefix(1);
  }
  return rest;
}

// "Z", "+02:00" (RFC 3339 section 5.6).
std::optional<std::chrono::seconds> offset_of(std::string_view zone) {
  if (zone == "Z" || zone == "z") return std::chrono::seconds{0};
  if (zone.size() != 6 || zone[3] != ':' || (zone[0] != '+' && zone[0] != '-')) return std::nullopt;
  const auto hours = config::number_within(zone.substr(1, 2), 0, 23);
  const auto minutes = config::number_within(zone.substr(4, 2), 0, 59);
  if (!hours || !minutes) return std::nullopt;
  const std::chrono::seconds ahead{*hours * 3600 + *minutes * 60};
  return zone[0] == '-' ? -ahead : ahead;
}

}  // namespace

bool Tenures::is_about(const json& line) const {
  if (!query_.protocol.empty() && line.contains("protocol") && text_at(line, "protocol") != query_.protocol)
    return false;
  if (line.contains("first_port"))
    return text_at(line, "external") == query_.address && line["first_port"] <= query_.port &&
           line.value("last_port", 0u) >= query_.port;
  return text_at(line, "external") == query_.address + ':' + std::to_string(query_.port) &&
         (query_.remote.empty() || text_at(line, "remote") == query_.remote);
}

bool Tenures::take(std::string_view text) {
  const bool is_start = text.find(R"("event":"started")") != std::string_view::npos;
  if (!is_start && text.find(mention_) == std::string_view::npos) return text.starts_with(R"({"time":)");
  const json line = json::parse(text, nullptr, false);
  if (!line.is_object() || !line.contains("time")) return false;
  if (is_start) {
    for (const auto& [identity, index] : under_way_)
      if (tenures_[index].doubtful_since.empty()) tenures_[index].doubtful_since = text_at(line, "time");
    return true;
  }
  if (!is_about(line)) return true;
  const std::string event = text_at(line, "event");
  if (event == "ended" || event == "block_returned")
    end(line);
  else
    begin(line, event != "present");
  return true;
}

// What is told twice, or is still there, goes on.
void Tenures::begin(const json& line, bool is_new) {
  const std::string identity = identity_of(line);
  if (const auto found = under_way_.find(identity); found != under_way_.end()) {
    Tenure& former = tenures_[found->second];
    if (former.line["internal"] == line["internal"] && (!is_new || former.doubtful_since.empty())) {
      former.doubtful_since.clear();
      return;
    }
    former.until = former.doubtful_since.empty() ? text_at(line, "time") : former.doubtful_since;
  }
  under_way_[identity] = tenures_.size();
  tenures_.push_back(
      {.line = line, .from = is_new ? text_at(line, "time") : "", .until = {}, .doubtful_since = {}});
}

void Tenures::end(const json& line) {
  const auto found = under_way_.find(identity_of(line));
  if (found == under_way_.end()) {
    tenures_.push_back({.line = line, .from = {}, .until = text_at(line, "time"), .doubtful_since = {}});
    return;
  }
  tenures_[found->second].until = text_at(line, "time");
  under_way_.erase(found);
}

json Tenures::at(const std::string& time) const {
  json list = json::array();
  for (const Tenure& tenure : tenures_) {
    const std::string& until = tenure.until.empty() ? tenure.doubtful_since : tenure.until;
    if (time.empty() ? !until.empty() : tenure.from > time || (!until.empty() && until <= time)) continue;
    json told = tenure.line;
    for (const char* of_the_line : {"time", "event", "packets_out", "packets_in", "bytes_out", "bytes_in"})
      told.erase(of_the_line);
    told["from"] = text_or_null(tenure.from);
    told["until"] = text_or_null(until);
    list.push_back(std::move(told));
  }
  return list;
}

std::optional<TenureQuery> parse_tenure_query(const std::string& text) {
  const auto endpoint = config::endpoint(text);
  if (!endpoint) return std::nullopt;
  return TenureQuery{.address = net::to_string(endpoint->address),
                     .port = endpoint->port.host(),
                     .protocol = {},
                     .remote = {}};
}

std::optional<std::string> log_time(const std::string& text) {
  std::chrono::milliseconds fraction{0};
  std::time_t time = 0;
  if (text.starts_with('@')) {
    const auto seconds = config::number(std::string_view(text).substr(1));
    if (!seconds || *seconds > kLastSecond) return std::nullopt;
    time = static_cast<std::time_t>(*seconds);
  } else {
    std::istringstream in(text);
    std::tm parts{};
    std::string rest;
    if (!(in >> std::get_time(&parts, "%Y-%m-%dT%H:%M:%S")) || !std::getline(in, rest)) return std::nullopt;
    const auto offset = offset_of(without_fraction(rest, fraction));
    if (!offset) return std::nullopt;
    time = timegm(&parts) - offset->count();
  }
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(time), fraction.count());
}

}  // namespace vmnat::ctl
