// SPDX-License-Identifier: Apache-2.0
// RuleEvents: frames that have met a rule with `log`, on their way from one worker to control.
#pragma once

#include <cstdint>

#include "base/event_ring.h"
#include "base/ids.h"
#include "net/address.h"
#include "net/wire.h"

namespace vmnat::dataplane {

struct RuleEvent {
  std::uint32_t rule = 0;  // its number
  PortIndex port = 0;      // of the VM
  Direction direction{};
  bool is_ipv4 = true;
  net::Protocol protocol{};
  std::uint8_t icmp_type = 0;
  net::Ipv4Addr remote;
  net::L4Port local_port, remote_port;
};

class RuleEvents : public EventRing<RuleEvent> {
 public:
  static constexpr std::size_t kRoom = 64;

  RuleEvents() : EventRing(kRoom) {}
};

}  // namespace vmnat::dataplane
