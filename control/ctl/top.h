// SPDX-License-Identifier: Apache-2.0
// `vmnatctl top`: who sends and receives how much right now, by VM and by remote.
//
// The daemon is asked for its ports and sessions in rounds; rates are differences between two rounds. Sessions are
// followed one by one, since what a remote's sum lost by one that ended is no negative rate. They are left out while there
// are more than `most_sessions` of them, for a round reads them all.
//
//     Top top({.most_sessions = 20000});
//     top.take_port(port); ... top.take_session(session); ...
//     if (auto round = top.end_round(now)) print(*round);      // from the second round on
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace vmnat::ctl {

struct TopOptions {
  double interval = 2;    // seconds between two rounds
  unsigned rounds = 0;    // 0: until it is ended
  std::size_t rows = 20;  // of each table
  std::uint64_t most_sessions = 20'000;
};

class Top {
 public:
  using Json = nlohmann::json;
  using Time = std::chrono::steady_clock::time_point;

  explicit Top(const TopOptions& options) : options_(options) {}

  void take_port(const Json& port);
  void take_session(const Json& session);

  // Both busiest first; rates are a second's: bits and packets, as the VM or the remote sends (out of the VM) and
  // receives. A port's `sessions` and the remotes are null where sessions were left out.
  struct Round {
    Json ports =
        Json::array();  // name, network, address, out_bits, in_bits, out_packets, in_packets, sessions, drops
    Json remotes = Json::array();  // remote, sessions, out_bits, in_bits
  };
  // Nothing: it was the first.
  std::optional<Round> end_round(Time now);

 private:
  struct Traffic {
    std::uint64_t out_bytes = 0, in_bytes = 0, out_packets = 0, in_packets = 0, drops = 0;
  };
  struct Remote {
    std::uint64_t sessions = 0, out_bytes = 0, in_bytes = 0;  // bytes since the former round
  };
  [[nodiscard]] Json port_row(const Json& port, double seconds) const;

  TopOptions options_;
  std::optional<Time> former_end_;
  std::vector<Json> ports_;
  std::unordered_map<std::string, Traffic> former_ports_, traffic_;      // by name
  std::unordered_map<std::string, Traffic> former_sessions_, sessions_;  // by all their endpoints
  std::unordered_map<std::string, Remote> remotes_;
  std::unordered_map<std::string, std::uint64_t> sessions_of_port_;
};

// The tables of a round.
std::string top_text(const Top::Round& round, std::size_t rows);

}  // namespace vmnat::ctl
