// SPDX-License-Identifier: Apache-2.0
// Addresses asked about before they are offered: who answers, who is silent, and how many fit.
#include "control/offer_checks.h"

#include <cstring>
#include <gtest/gtest.h>

#include "dataplane/net/wire.h"

namespace vmnat::control {
namespace {

using std::chrono::milliseconds;

constexpr net::MacAddr kClient{{0x52, 0x54, 0, 0, 0, 1}}, kStranger{{0x52, 0x54, 0, 0, 0, 9}};
constexpr auto kAddress = net::Ipv4Addr::of(192, 168, 122, 9);

FrameBytes frame_from(net::MacAddr mac) {
  const net::EthernetHeader ethernet{.destination = net::kBroadcastMac, .source = mac, .type = {}};
  FrameBytes frame(sizeof ethernet);
  std::memcpy(frame.data(), &ethernet, sizeof ethernet);
  return frame;
}
FrameBytes arp_of(net::MacAddr mac, net::Ipv4Addr address) {
  return arp_request(mac, address, address, net::kBroadcastMac);
}

class OfferChecksTest : public testing::Test {
 protected:
  bool add(net::MacAddr client = kClient, net::Ipv4Addr address = kAddress) {
    return checks.add(
        {.network = 0, .address = address, .port = 1, .frame = frame_from(client), .asked = now});
  }
  OfferChecks checks;
  SteadyTime now{std::chrono::hours(1)};
};

TEST_F(OfferChecksTest, AfterTwoQuestionsAndNoAnswerTheAddressIsFree) {
  ASSERT_TRUE(add());
  EXPECT_EQ(checks.take_questions().size(), 1u);
  EXPECT_TRUE(checks.take_settled(now + milliseconds(199)).empty());
  EXPECT_TRUE(checks.take_questions().empty());
  EXPECT_TRUE(checks.take_settled(now + milliseconds(200)).empty());
  EXPECT_EQ(checks.take_questions().size(), 1u);
  EXPECT_TRUE(checks.take_settled(now + milliseconds(399)).empty());
  EXPECT_TRUE(checks.take_questions().empty());
  const auto settled = checks.take_settled(now + milliseconds(400));
  ASSERT_EQ(settled.size(), 1u);
  EXPECT_EQ(settled[0].waiting.address, kAddress);
  EXPECT_TRUE(settled[0].by.is_zero());
  EXPECT_TRUE(checks.take_settled(now + milliseconds(800)).empty());
}

TEST_F(OfferChecksTest, AnotherStationsAnswerSettlesItAtOnceAndTheClientsOwnMakesItFree) {
  for (const net::MacAddr sender : {kStranger, kClient}) {
    add();
    checks.receive_arp(arp_of(sender, kAddress), 0);
    const auto settled = checks.take_settled(now);
    ASSERT_EQ(settled.size(), 1u);
    EXPECT_EQ(settled[0].by, sender == kClient ? net::MacAddr{} : kStranger);
  }
  EXPECT_EQ(checks.in_use(), 1u);
}

TEST_F(OfferChecksTest, AnswersForOtherAddressesOrFromOtherNetworksSettleNothing) {
  add();
  checks.receive_arp(arp_of(kStranger, net::Ipv4Addr::of(192, 168, 122, 10)), 0);
  checks.receive_arp(arp_of(kStranger, kAddress), 1);
  checks.receive_arp(FrameBytes(20), 0);
  EXPECT_TRUE(checks.take_settled(now).empty());
}

TEST_F(OfferChecksTest, ARepeatedDiscoverTakesThePlaceOfTheOneBefore) {
  add();
  now += milliseconds(100);
  add();
  EXPECT_EQ(checks.take_settled(now + milliseconds(400)).size(), 1u);
}

TEST_F(OfferChecksTest, WhatDoesNotFitIsSkippedAndCounted) {
  for (std::size_t i = 0; i <= OfferChecks::kAtOnce; ++i) {
    net::MacAddr client = kClient;
    client.bytes[5] = static_cast<std::uint8_t>(i);
    EXPECT_EQ(add(client), i < OfferChecks::kAtOnce);
  }
  EXPECT_EQ(checks.skipped(), 1u);
}

TEST_F(OfferChecksTest, RepliesAreAwaitedForSomeSecondsOnTheNetworkThatWasAsked) {
  EXPECT_FALSE(checks.awaits_replies(0, now));
  add();
  EXPECT_TRUE(checks.awaits_replies(0, now));
  EXPECT_FALSE(checks.awaits_replies(1, now));
  EXPECT_FALSE(checks.awaits_replies(0, now + std::chrono::seconds(5)));
}

}  // namespace
}  // namespace vmnat::control
