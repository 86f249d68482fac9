// SPDX-License-Identifier: Apache-2.0
// The generator answers ARP for its hosts and its router, and learns the device's MAC.
#include "bench/generator/neighbors.h"

#include <gtest/gtest.h>

namespace vmnat::bench {
namespace {

using net::Ipv4Addr;

constexpr net::MacAddr kOwn{{0x52, 0x54, 0, 0, 0, 1}};
constexpr net::MacAddr kDevice{{0x52, 0x54, 0, 0, 0, 2}};
constexpr Ipv4Addr kGateway = Ipv4Addr::of(192, 168, 122, 1);
constexpr Ipv4Addr kHost = Ipv4Addr::of(192, 168, 122, 9);

NeighborSide hosts() {
  return {kOwn, [](Ipv4Addr address) { return net::Ipv4Prefix{kGateway, 24}.contains(address); }, kGateway};
}

TEST(NeighborSide, AnswersForAllItsHosts) {
  NeighborSide side = hosts();
  const auto reply = side.answer(net::arp_request(kDevice, kGateway, kHost).bytes());
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->ethernet.destination, kDevice);
  EXPECT_EQ(reply->ethernet.source, kOwn);
  EXPECT_EQ(reply->arp.op(), net::ArpOperation::Reply);
  EXPECT_EQ(reply->arp.sender_mac, kOwn);
  EXPECT_EQ(reply->arp.sender_address, kHost);
  EXPECT_EQ(reply->arp.target_mac, kDevice);
  EXPECT_EQ(reply->arp.target_address, kGateway);
}

TEST(NeighborSide, AnswersForNobodyElse) {
  NeighborSide side = hosts();
  EXPECT_FALSE(side.answer(net::arp_request(kDevice, kGateway, Ipv4Addr::of(192, 168, 123, 9)).bytes()));
  EXPECT_FALSE(side.answer(net::arp_request(kDevice, kGateway, kGateway).bytes()));  // gratuitous
}

TEST(NeighborSide, LearnsTheDevicesMacFromRequestsAndReplies) {
  NeighborSide asked = hosts();
  EXPECT_FALSE(asked.peer_mac());
  asked.answer(net::arp_request(kDevice, kGateway, kHost).bytes());
  EXPECT_EQ(asked.peer_mac(), kDevice);

  NeighborSide device{kDevice, [](Ipv4Addr address) { return address == kGateway; }, kHost};
  NeighborSide asking = hosts();
  const auto reply = device.answer(net::arp_request(kOwn, kHost, kGateway).bytes());
  ASSERT_TRUE(reply);
  EXPECT_FALSE(asking.answer(reply->bytes()));  // a reply is not answered
  EXPECT_EQ(asking.peer_mac(), kDevice);
}

TEST(NeighborSide, LearnsNothingFromOtherSenders) {
  NeighborSide side = hosts();
  side.answer(net::arp_request(kDevice, Ipv4Addr::of(192, 168, 122, 77), kHost).bytes());
  EXPECT_FALSE(side.peer_mac());
}

TEST(NeighborSide, LeavesCutFramesAlone) {
  NeighborSide side = hosts();
  const net::ArpFrame request = net::arp_request(kDevice, kGateway, kHost);
  for (std::size_t length = 0; length < 42; ++length)
    EXPECT_FALSE(side.answer(request.bytes().first(length)));
  EXPECT_TRUE(side.answer(request.bytes().first(42)));
}

}  // namespace
}  // namespace vmnat::bench
