// SPDX-License-Identifier: Apache-2.0
// A NAT's tables without a packet path around them, and flows for them, as the table benchmarks share them.
#pragma once

#include <cstddef>
#include <memory>
#include <random>
#include <vector>

#include "bench/micro/record_memory.h"
#include "conntrack/conntrack.h"

namespace vmnat::conntrack {

// As many as give each of the sessions a port of its own, rounded down.
constexpr std::size_t addresses_for(std::size_t sessions) {
  return sessions / 64512;
}

struct NatTable {
  NatTable(std::size_t capacity, std::size_t external_addresses, Pages pages = Pages::Huge)
      : memory(capacity) {
    std::vector<ExternalAddress> addresses;
    for (std::size_t i = 0; i < external_addresses; ++i) {
      addresses.push_back({.address = net::Ipv4Addr::from_host(0xcb000000 + static_cast<std::uint32_t>(i))});
      indices.push_back(static_cast<ExternalIndex>(i));
    }
    policy.addresses = indices;
    external = ExternalAddresses::of(addresses);
    ports = ExternalPorts::create(static_cast<unsigned>(addresses.size()), 1);
    conntrack = Conntrack::create({.capacity = static_cast<std::uint32_t>(capacity),
                                   .seed = 42,
                                   .placement = {pages},
                                   .records = memory.records()},
                                  *ports, *external, {&policy, 1});
  }
  NatPolicy policy;
  RecordMemory memory;
  std::vector<ExternalIndex> indices;
  std::shared_ptr<const ExternalAddresses> external;
  std::unique_ptr<ExternalPorts> ports;
  std::unique_ptr<Conntrack> conntrack;
};

// A thousand flows a VM, from random ephemeral ports, no port twice.
inline OutboundFlow flow_number(std::size_t i, std::mt19937_64& random,
                                net::Protocol protocol = net::Protocol::Udp) {
  const auto port = static_cast<std::uint16_t>(32768 + i % 1000 * 28 + random() % 28);
  const net::Endpoint internal{net::Ipv4Addr::from_host(0x0a000000 + static_cast<std::uint32_t>(i / 1000)),
                               net::L4Port::from_host(port)};
  const std::uint64_t bits = random();
  const net::Endpoint remote{net::Ipv4Addr::from_host(0x60000000 | (bits & 0x0fffffff)),
                             net::L4Port::from_host(static_cast<std::uint16_t>(bits >> 40 | 1))};
  return {.key = FlowKey::of(internal, remote, protocol), .tcp_flags = net::TcpHeader::kSyn};
}

}  // namespace vmnat::conntrack
