// SPDX-License-Identifier: Apache-2.0
// SessionCensus: how many sessions there are of each network, protocol and state, and the most that one remote
// endpoint has with each external address. Workers count none of it: control reads their tables, as `vmnatctl
// sessions` does, a bounded bit at a time.
//
// A count begins when somebody asks and the last one is 5 s old. Of a few thousand sessions it ends at once; of
// more it goes on in advance(), and whoever asks meanwhile gets what the last one found.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>

#include "base/ids.h"
#include "base/time.h"
#include "control/gateway/workers.h"

namespace vmnat::metrics {

class SessionCensus {
 public:
  static constexpr std::chrono::seconds kFresh{5};
  static constexpr std::size_t kMostRemotes = 65536;  // endpoints that are told apart in a count

  // Of the policy with that number, which is a network's.
  struct Kind {
    std::uint16_t policy = 0;
    net::Protocol protocol{};
    conntrack::SessionState state{};
    auto operator<=>(const Kind&) const = default;
  };
  struct Count {
    std::map<Kind, std::uint64_t> sessions;
    std::map<net::Ipv4Addr, std::uint64_t> most_of_a_remote;  // by external address
    SteadyTime ended;
  };

  explicit SessionCensus(const control::Workers& workers);

  void ask(SteadyTime now);
  // Goes on with a count that is under way, for half a millisecond at most.
  void advance(SteadyTime now);
  [[nodiscard]] bool is_under_way() const { return is_under_way_; }
  // Nothing before the first has ended.
  [[nodiscard]] const std::optional<Count>& last() const { return last_; }

 private:
  struct Remote {
    std::uint64_t endpoint = 0;  // address, port, protocol
    net::Ipv4Addr external;
    bool operator==(const Remote&) const = default;
  };
  // Remotes choose their endpoints, and are not to choose where they stand in the table.
  struct RemoteHash {
    std::uint64_t seed;
    std::size_t operator()(const Remote& remote) const;
  };
  void add(const conntrack::SessionView& view);
  void conclude(SteadyTime now);

  const control::Workers& workers_;
  bool is_under_way_ = false;
  std::size_t worker_ = 0;
  std::uint32_t cursor_ = 0;
  std::array<conntrack::SessionView, 256> chunk_{};
  Count count_{};
  std::unordered_map<Remote, std::uint64_t, RemoteHash> remotes_;
  std::optional<Count> last_;
};

}  // namespace vmnat::metrics
