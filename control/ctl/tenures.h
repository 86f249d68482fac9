// SPDX-License-Identifier: Apache-2.0
// Tenures: who had an external endpoint, from when until when, as the log of translations tells it line by line.
//
//     Tenures tenures(*parse_tenure_query("203.0.113.2:40000"));
//     for (line of the log, the oldest first) tenures.take(line);
//     for (const json& tenure : tenures.at("2026-01-01T12:00:00.000Z")) ...
//
// A session and a block of ports are each a tenure. Times are text of one form, so they compare as text does.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vmnat::ctl {

struct TenureQuery {
  std::string address;
  unsigned port = 0;             // or an ICMP query's identifier
  std::string protocol, remote;  // empty: any
};

class Tenures {
 public:
  explicit Tenures(TenureQuery query)
      : query_(std::move(query)), mention_("\"external\":\"" + query_.address) {}

  // False: it is no line of such a log.
  bool take(std::string_view text);

  // Those of the time; empty: of now. Each is the line that it began with, without `time` and `event`, and with `from`
  // and `until` (null: not known, and not yet).
  [[nodiscard]] nlohmann::json at(const std::string& time) const;

 private:
  struct Tenure {
    nlohmann::json line;
    std::string from, until;     // empty: not known; not yet
    std::string doubtful_since;  // a log has started, and not said that it is still there
  };
  [[nodiscard]] bool is_about(const nlohmann::json& line) const;
  void begin(const nlohmann::json& line, bool is_new);
  void end(const nlohmann::json& line);

  const TenureQuery query_;
  const std::string mention_;
  std::vector<Tenure> tenures_;
  std::map<std::string, std::size_t> under_way_;  // by what tells sessions, or blocks, apart
};

// "203.0.113.2:40000"
std::optional<TenureQuery> parse_tenure_query(const std::string& text);

// "2026-01-01T12:00:00Z", with a fraction or an offset from UTC perhaps, or "@1767268800", in the log's own form.
std::optional<std::string> log_time(const std::string& text);

}  // namespace vmnat::ctl
