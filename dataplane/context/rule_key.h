// SPDX-License-Identifier: Apache-2.0
// RuleKey: a question to the rules of one list, as librte_acl reads it: big-endian fields, one byte first, then four at
// a time. Where the flow is of ICMP, its type stands for the local port.
//
//   | protocol 8 | 0 24 | list 16 | peer 16 | remote address 32 | local port 16 | remote port 16 |
//
// peer: bit 15: it is no IPv4; bit 14: the other side is a VM, of the port in the lowest 12 bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "dataplane/context/filter_rules.h"

namespace vmnat::dataplane {

struct RuleKey {
  static constexpr std::uint16_t kNoIpv4 = 0x8000, kIsPeer = 0x4000, kPeerPort = 0x0fff;
  static constexpr std::uint8_t kNoProtocol = 255;  // which IANA has reserved

  std::uint8_t protocol = 0;
  std::array<std::uint8_t, 3> unused{};
  net::Be16 list;
  net::Be16 peer;
  net::Ipv4Addr remote;
  net::L4Port local_port;
  net::L4Port remote_port;

  static constexpr std::uint16_t peer_of(const FlowSide& side) {
    const auto port = side.peer ? static_cast<std::uint16_t>(kIsPeer | *side.peer) : std::uint16_t{0};
    return side.is_ipv4 ? port : static_cast<std::uint16_t>(port | kNoIpv4);
  }
  static constexpr RuleKey of(ListNumber list, const FlowSide& side) {
    RuleKey key;
    key.list = net::Be16::from_host(list);
    key.peer = net::Be16::from_host(peer_of(side));
    key.protocol = side.is_ipv4 ? static_cast<std::uint8_t>(side.protocol) : kNoProtocol;
    if (!side.is_ipv4) return key;
    key.remote = side.remote;
    const bool is_icmp = side.protocol == net::Protocol::Icmp;
    key.local_port = is_icmp ? net::L4Port::from_host(side.icmp_type) : side.local_port;
    if (!is_icmp) key.remote_port = side.remote_port;
    return key;
  }
};
static_assert(sizeof(RuleKey) == 16 && offsetof(RuleKey, list) == 4 && offsetof(RuleKey, peer) == 6 &&
              offsetof(RuleKey, remote) == 8 && offsetof(RuleKey, local_port) == 12 &&
              offsetof(RuleKey, remote_port) == 14);

}  // namespace vmnat::dataplane
