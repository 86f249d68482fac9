// SPDX-License-Identifier: Apache-2.0
// Fixture: what the tests over a Testbed share. Addresses, views into frames, and the checks after every
// test.
//
//   class Refuse : public OnTestbed {};
//   TEST_F(Refuse, ...) {
//     bed.exchange(kVm1, outbound().frame());
//     EXPECT_EQ(icmp(only(bed.take(kVm1))).type, ...
#pragma once

#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <initializer_list>
#include <vector>

#include "tests/support/testbed.h"

namespace vmnat::test {

inline net::Endpoint endpoint(const char* address, std::uint16_t port) {
  return {net::parse_ipv4(address).value(), net::L4Port::from_host(port)};
}

// The one frame that is expected; an empty one, and a failure, when there are more or none.
inline Bytes only(std::vector<Bytes> frames) {
  EXPECT_EQ(frames.size(), 1u);
  return frames.empty() ? Bytes(80) : frames.front();
}

inline const net::EthernetHeader& ethernet(const Bytes& frame) {
  return *net::view<net::EthernetHeader>(frame);
}
inline const net::Ipv4Header& ip(const Bytes& frame) {
  return *net::view<net::Ipv4Header>(frame, 14);
}
inline const net::IcmpHeader& icmp(const Bytes& frame) {  // of a packet without options
  return *net::view<net::IcmpHeader>(frame, 34);
}

// As control does it: the first of several forwards to one endpoint is its mapping.
struct ForwardRow {
  net::Protocol protocol;
  std::uint16_t port;  // of kExternal
  net::Endpoint to;
  dataplane::NetworkIndex network = 0;
};
inline void set_forwards(dataplane::ForwardingState& state, const std::vector<ForwardRow>& rows) {
  std::vector<dataplane::WordTable<dataplane::Forward>::Entry> forwards;
  std::vector<dataplane::WordTable<net::Endpoint>::Entry> mappings;
  for (const ForwardRow& row : rows) {
    const net::Endpoint external = endpoint(kExternal, row.port);
    const std::uint64_t internal = dataplane::ForwardingState::forward_word(row.to, row.protocol);
    forwards.push_back({dataplane::ForwardingState::forward_word(external, row.protocol),
                        {.to = row.to, .network = row.network}});
    if (std::ranges::none_of(mappings, [&](const auto& known) { return known.key == internal; }))
      mappings.push_back({internal, external});
  }
  state.forwards = dataplane::WordTable<dataplane::Forward>(forwards);
  state.static_mappings = dataplane::WordTable<net::Endpoint>(mappings);
}

// One worker, vm1 known to the switch. Afterwards every frame is accounted for and the tables agree.
class OnTestbed : public ::testing::Test {
 protected:
  explicit OnTestbed(const conntrack::NatPolicy& policy = {}) : bed(1, policy) {}
  void SetUp() override { bed.learn(kVm1, vm_mac(1)); }
  void TearDown() override {
    EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts());
    std::string why;
    EXPECT_TRUE(bed.worker(0).conntrack().check_invariants(&why)) << why;
  }
  Testbed bed;
};

// As many workers as the parameter says; the rest as OnTestbed.
class OnWorkers : public ::testing::TestWithParam<unsigned> {
 protected:
  // The switch knows these VMs, each by its port's number.
  explicit OnWorkers(std::initializer_list<PortIndex> vms) : bed(GetParam()) {
    for (const PortIndex vm : vms) bed.learn(vm, vm_mac(static_cast<std::uint8_t>(vm)));
  }
  void TearDown() override {
    EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts());
    std::string why;
    for (unsigned worker = 0; worker < GetParam(); ++worker)
      EXPECT_TRUE(bed.worker(worker).conntrack().check_invariants(&why)) << why;
  }
  // What comes out at the port for this frame; its checksums are right.
  Bytes sent(PortIndex from, const Packet& packet, PortIndex to) {
    bed.exchange(from, packet.frame());
    Bytes frame = only(bed.take(to));
    EXPECT_TRUE(has_good_checksums(frame)) << describe(frame);
    return frame;
  }
  Testbed bed;
};

}  // namespace vmnat::test
