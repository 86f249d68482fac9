// SPDX-License-Identifier: Apache-2.0
// ARP as the generator's two sides need it: it plays every internal host towards the device under test's VM
// port, and the router towards its uplink, and notes the device's own MAC on either side.
//
// All hosts at a VM port share its MAC (a VM with many addresses). Pure functions of frames; no DPDK.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <utility>

#include "net/arp.h"

namespace vmnat::bench {

// One port: the addresses it answers for.
class NeighborSide {
 public:
  using Addresses = std::function<bool(net::Ipv4Addr)>;
  // Answers for `addresses`, but never for the device's own address `peer`.
  NeighborSide(net::MacAddr own_mac, Addresses addresses, net::Ipv4Addr peer)
      : own_mac_(own_mac), addresses_(std::move(addresses)), peer_(peer) {}

  // Learns from an ARP frame who the peer is; gives the reply when the frame asks for one of our addresses.
  std::optional<net::ArpFrame> answer(std::span<const std::byte> frame);
  [[nodiscard]] std::optional<net::MacAddr> peer_mac() const { return peer_mac_; }
  [[nodiscard]] net::Ipv4Addr peer() const { return peer_; }

 private:
  net::MacAddr own_mac_;
  Addresses addresses_;
  net::Ipv4Addr peer_;
  std::optional<net::MacAddr> peer_mac_;
};

}  // namespace vmnat::bench
