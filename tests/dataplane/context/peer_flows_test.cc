// SPDX-License-Identifier: Apache-2.0
#include "dataplane/context/peer_flows.h"

#include <gtest/gtest.h>
#include <vector>

namespace vmnat::dataplane {
namespace {

using conntrack::FlowKey;
using net::Ipv4Addr;
using net::L4Port;
using net::Protocol;
using std::chrono::seconds;

FlowKey flow(std::uint16_t own, std::uint16_t of_other, Protocol protocol = Protocol::Tcp) {
  return FlowKey::of({Ipv4Addr::of(192, 168, 122, 10), L4Port::from_host(own)},
                     {Ipv4Addr::of(192, 168, 122, 11), L4Port::from_host(of_other)}, protocol);
}

TEST(PeerFlows, KnowsAFlowUnderItsOpenerAlone) {
  PeerFlows flows;
  ASSERT_TRUE(flows.has_memory());
  const Time now{seconds(10)};
  EXPECT_TRUE(flows.note({.key = flow(4000, 80), .seen = now, .epoch = 7, .icmp_type = 8}, 1));
  const PeerFlows::Flow* const found = flows.find(flow(4000, 80), 1, now);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->epoch, 7);
  EXPECT_EQ(found->icmp_type, 8);
  EXPECT_EQ(flows.find(flow(4000, 80), 2, now), nullptr);
  EXPECT_EQ(flows.find(flow(4001, 80), 1, now), nullptr);
  EXPECT_EQ(flows.find(flow(4000, 80, Protocol::Udp), 1, now), nullptr);
  EXPECT_EQ(flows.find(flow(4000, 80).answered(), 1, now), nullptr);
}

TEST(PeerFlows, ForgetsAFlowAfterItsProtocolsTimeAndADatagramSooner) {
  const Time start{seconds(100)};
  const net::Ipv4Header header{.identification = net::Be16::from_host(9),
                               .protocol_number = 17,
                               .source = Ipv4Addr::of(192, 168, 122, 10),
                               .destination = Ipv4Addr::of(192, 168, 122, 11)};
  const struct {
    FlowKey key;
    seconds lifetime;
  } rows[] = {{flow(1, 2), seconds(7440)},
              {flow(1, 2, Protocol::Udp), seconds(120)},
              {flow(1, 2, Protocol::Icmp), seconds(60)},
              {PeerFlows::datagram_key(header), seconds(30)}};
  for (const auto& [key, lifetime] : rows) {
    PeerFlows flows;
    flows.note({.key = key, .seen = start}, 1);
    EXPECT_NE(flows.find(key, 1, start + lifetime), nullptr) << lifetime.count();
    EXPECT_EQ(flows.find(key, 1, start + lifetime + seconds(1)), nullptr) << lifetime.count();
  }
}

TEST(PeerFlows, DatagramsDifferByIdentificationAndProtocolAndAreNoFlows) {
  net::Ipv4Header header{.identification = net::Be16::from_host(0),
                         .protocol_number = 17,
                         .source = Ipv4Addr::of(192, 168, 122, 10),
                         .destination = Ipv4Addr::of(192, 168, 122, 11)};
  const FlowKey first = PeerFlows::datagram_key(header);
  EXPECT_NE(first, FlowKey::of({header.source, {}}, {header.destination, {}}, static_cast<Protocol>(255)))
      << "a flow of the reserved protocol";
  header.protocol_number = 6;
  const FlowKey other_protocol = PeerFlows::datagram_key(header);
  EXPECT_NE(first, other_protocol);
  header.identification = net::Be16::from_host(1);
  EXPECT_NE(other_protocol, PeerFlows::datagram_key(header));
}

// Whatever one VM opens, the flows of a VM with another number in its region stay.
TEST(PeerFlows, AVmDisplacesFlowsOfItsOwnRegionAndNoOthers) {
  PeerFlows flows;
  const Time now{seconds(10)};
  for (std::uint16_t own = 1; own <= 1000; ++own) flows.note({.key = flow(own, 80), .seen = now}, 2);
  unsigned displaced = 0;
  for (std::uint32_t own = 1; own < 60'000; ++own)
    displaced +=
        flows.note({.key = flow(static_cast<std::uint16_t>(own), 81), .seen = now + seconds(1)}, 1) ? 0 : 1;
  EXPECT_GT(displaced, 0u);
  unsigned known = 0;
  for (std::uint16_t own = 1; own <= 1000; ++own)
    known += flows.find(flow(own, 80), 2, now + seconds(1)) != nullptr ? 1 : 0;
  EXPECT_GT(known, 990u) << "those that found no place among their own";
}

TEST(PeerFlows, AFlowWithoutRoomTakesThePlaceOfTheOneUsedLeastRecently) {
  PeerFlows flows;
  Time now{seconds(1)};
  std::vector<FlowKey> noted;
  for (std::uint32_t own = 1; own < 60'000; ++own) {
    now += Ticks(1);
    const FlowKey key = flow(static_cast<std::uint16_t>(own), 80);
    noted.push_back(key);
    if (!flows.note({.key = key, .seen = now}, 1)) break;
  }
  ASSERT_LT(noted.size(), 59'000u) << "some bucket was full";
  unsigned lost = 0;
  for (std::size_t i = 0; i < noted.size(); ++i) lost += flows.find(noted[i], 1, now) == nullptr ? 1 : 0;
  EXPECT_EQ(lost, 1u);
  EXPECT_NE(flows.find(noted.back(), 1, now), nullptr);
}

}  // namespace
}  // namespace vmnat::dataplane
