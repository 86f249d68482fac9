// SPDX-License-Identifier: Apache-2.0
// FlowKey: the key by which a session is found, in either direction. Two words, compared without a branch.
//
// RFC 4787's three endpoints: internal X:x (the VM), external X':x' (what the world sees), remote Y:y.
// Outbound frames carry (internal, remote), inbound ones (external, remote). `remote` is common to both:
//
//   remote:  | remote address 32 | remote port 16 | protocol 8 | 0 |     (low bits first, wire order inside)
//   local:   | internal or external address 32 | port or ICMP identifier 16 | 0 |
//
// The high bits are zero in a key. In a Session the high bits of the same words hold other fields, which are
// masked out. Inside networks overlap neither each other nor the external addresses (configuration checks
// it), so a key tells its direction by itself. Protocols without ports use port 0 on both sides; for ICMP
// queries the identifier is the local port, the remote port who asks (query_port.h).
#pragma once

#include <cstdint>

#include "net/address.h"
#include "net/wire.h"

namespace vmnat::conntrack {

struct FlowKey {
  static constexpr std::uint64_t kRemoteMask = 0x00ff'ffff'ffff'ffff;  // address, port, protocol
  static constexpr std::uint64_t kLocalMask = 0x0000'ffff'ffff'ffff;   // address, port

  std::uint64_t remote = 0;
  std::uint64_t local = 0;

  static constexpr std::uint64_t pack(net::Endpoint endpoint) {
    return endpoint.address.raw() | static_cast<std::uint64_t>(endpoint.port.raw()) << 32;
  }
  static constexpr net::Endpoint unpack(std::uint64_t word) {
    return {net::Ipv4Addr::from_raw(static_cast<std::uint32_t>(word)),
            net::L4Port::from_raw(static_cast<std::uint16_t>(word >> 32))};
  }
  static constexpr FlowKey of(net::Endpoint local, net::Endpoint remote, net::Protocol protocol) {
    return {pack(remote) | static_cast<std::uint64_t>(protocol) << 48, pack(local)};
  }

  [[nodiscard]] constexpr net::Endpoint local_endpoint() const { return unpack(local); }
  [[nodiscard]] constexpr net::Endpoint remote_endpoint() const { return unpack(remote); }
  [[nodiscard]] constexpr net::Protocol protocol() const {
    return static_cast<net::Protocol>(static_cast<std::uint8_t>(remote >> 48));
  }
  // The flow that a packet with this key answers, as its opener's packets have it: an identifier is the port of who
  // has asked.
  [[nodiscard]] constexpr FlowKey answered() const {
    const net::Endpoint own = local_endpoint(), other = remote_endpoint();
    if (protocol() != net::Protocol::Icmp) return of(other, own, protocol());
    return of({other.address, own.port}, {own.address, {}}, protocol());
  }
  constexpr bool operator==(const FlowKey& other) const {
    return ((remote ^ other.remote) | (local ^ other.local)) == 0;
  }
};
static_assert(sizeof(FlowKey) == 16 && std::has_unique_object_representations_v<FlowKey>);

}  // namespace vmnat::conntrack
