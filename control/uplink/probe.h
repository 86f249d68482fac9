// SPDX-License-Identifier: Apache-2.0
// UplinkProbe: whether an address beyond an uplink answers ICMP echo requests (RFC 792), as a function of frames and
// time.
//
// One echo a second. One that is not answered when the next is due is unanswered, and so is one that could not be sent.
// Three unanswered in a row: silent; then three answered in a row: it answers again. It is taken to answer until it has
// shown that it does not.
//
//   1 s   2 s   3 s   4 s                     9 s   10 s   11 s   12 s
//   -     no    no    no: silent     ...      -     yes    yes    yes: answers
//
// The identifier is 0, which no VM's flow has outside; a random number in the request tells a stranger's answers from
// right ones. The reply comes by the workers (dataplane/detours/local.h).
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/time.h"
#include "net/address.h"

namespace vmnat::control {

class UplinkProbe {
 public:
  static constexpr std::chrono::seconds kInterval{1};
  static constexpr unsigned kInARow = 3;

  // `secret`: random.
  explicit UplinkProbe(std::uint64_t secret) : secret_(secret) {}

  // Who is asked from now on; unspecified: nobody.
  void set_target(net::Ipv4Addr target);
  [[nodiscard]] net::Ipv4Addr target() const { return target_; }

  // Whether an echo is due; the one before is done with.
  bool take_due(SteadyTime now);
  // The request that is due, without MACs.
  [[nodiscard]] std::vector<std::byte> request(net::Ipv4Addr own) const;
  // A frame with an echo reply.
  void receive(std::span<const std::byte> frame);

  [[nodiscard]] bool is_silent() const { return is_silent_; }

 private:
  void conclude(bool is_answered);

  std::uint64_t secret_;
  net::Ipv4Addr target_;
  std::optional<SteadyTime> next_;  // nothing: at once
  std::uint16_t sequence_ = 0;      // of the last request
  bool is_awaited_ = false;         // its answer
  bool is_answered_ = false;
  bool is_silent_ = false;
  unsigned against_ = 0;  // in a row, that say the contrary of is_silent_
};

}  // namespace vmnat::control
