// SPDX-License-Identifier: Apache-2.0
// Punt: a frame goes to the control thread. Budgets keep any port from crowding out the others. Cold.
//
// Control is one thread, and a VM, or a stranger on the uplink, may send frames for control as fast as it
// likes. So each port has a budget for each class of frames, refilled once a tick of the workers' clock (1/16
// s): DHCP, ARP replies, and frames that wait for a MAC address, of which one destination gets eight a tick
// at most. The budgets of all ports together fit into the ring, which control empties within a tick. A frame
// over its budget is dropped as `punt_budget`. Example, 4 ports: 96 DHCP messages, 48 ARP replies and 48
// unresolved frames a tick for each, 1536, 768 and 768 a second; a VM that floods DHCP leaves room for 3 x
// 192 frames of the others. A port that leads to many hosts, a segment or a relay, may punt six times as much
// DHCP.
//
// Frames that uplinks depend on go by a ring of their own, which control empties first. There each class has its
// own budget: ARP replies that confirm a router's MAC, those of neighbours that were asked, those of others, DHCP
// messages of our client's transaction, and answers to our echo requests.
//
// Reports of learned MACs go to control as well, with a budget a port: a VM that makes up MACs takes neither
// the others' place in the ring nor control's time.
//
// Only frames of one buffer are punted, so that no ring holds more buffers than entries, and control can send
// every frame that it gets. (A super-frame whose next hop is not resolved is dropped; TCP sends it again.)
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/time.h"
#include "base/token_bucket.h"
#include "dataplane/context/forwarding_state.h"
#include "dataplane/frame/packet.h"

namespace vmnat::dataplane {

// Of a VM port, for each of its workers: so many punts a tick.
struct PuntShares {
  unsigned dhcp, segment_dhcp, arp, unresolved;

  static constexpr PuntShares among(std::size_t ports) {
    constexpr std::size_t kOfAll = 1536, kLeast = 24, kMost = 192;
    constexpr unsigned kLeastOfSegment = 64;
    const auto share =
        static_cast<unsigned>(std::clamp(kOfAll / std::max<std::size_t>(ports, 1), kLeast, kMost));
    return {.dhcp = share / 2,
            .segment_dhcp = std::max(3 * share, kLeastOfSegment),
            .arp = share / 4,
            .unresolved = share / 4};
  }
  // Of so many ports, of which some are segments.
  [[nodiscard]] constexpr std::size_t sum(std::size_t ports, std::size_t segments) const {
    return ports * (dhcp + arp + unresolved) + segments * segment_dhcp;
  }
};
// Of an uplink, a tick; those of its router, of others, and of what is pinged are all uplinks' together.
inline constexpr unsigned kRouterArpPunts = 16, kAskedArpPunts = 64, kOtherArpPunts = 16,
                          kUplinkDhcpPunts = 16, kProbePunts = 16;
// Of so many uplinks.
constexpr unsigned uplink_punts(std::size_t uplinks) {
  return kRouterArpPunts + kOtherArpPunts + kProbePunts +
         static_cast<unsigned>(uplinks) * (kAskedArpPunts + kUplinkDhcpPunts);
}
// A tick's punts of one port for one next hop, VM, or ARP sender.
inline constexpr unsigned kPuntsPerTarget = 8;
// A tick's reports of one port that a MAC was seen there, or says by ARP that it has an address.
inline constexpr unsigned kLearnedMacs = 16;

// So many of something a tick.
constexpr TokenBucket tick_budget(unsigned at_once) {
  return {at_once * static_cast<std::uint32_t>(Clock::period::den), at_once};
}

// How often each of the last punted targets was punted for in this tick; those that share a slot displace
// each other, and are then bounded by their port's budget alone.
class TargetBudgets {
 public:
  bool take(net::Ipv4Addr target, PortIndex port, Time now);

 private:
  static constexpr std::size_t kSlots = 64;
  struct Slot {
    net::Ipv4Addr target;
    PortIndex port = 0;
    std::uint16_t count = 0;
    Time tick{};
  };
  std::array<Slot, kSlots> slots_{};
};

// One worker's.
class PuntBudgets {
 public:
  // For ports below `most_ports`, of which there are so many at first.
  PuntBudgets(std::size_t most_ports, std::size_t ports);
  // So many ports share from now on, of which the first ones are uplinks.
  void share_among(std::size_t ports, std::size_t uplinks = 1);

  // True when the frame may go to control now.
  bool take(const ForwardingState& state, rte_mbuf* frame, PortIndex port, PuntReason reason, Time now);
  // True when control may be told now of a MAC at the port.
  bool take_learned(PortIndex port, Time now) { return ports_[port].learned.take(now); }

 private:
  struct OfPort {
    TokenBucket dhcp, segment_dhcp, arp, unresolved, learned;
  };
  bool take_arp(const Uplink& uplink, rte_mbuf* frame, PortIndex port, Time now);

  std::vector<OfPort> ports_;  // by PortIndex
  TokenBucket router_arp_ = tick_budget(kRouterArpPunts);
  TokenBucket other_arp_ = tick_budget(kOtherArpPunts);
  TokenBucket probe_ = tick_budget(kProbePunts);
  TargetBudgets targets_;
};

}  // namespace vmnat::dataplane
