// SPDX-License-Identifier: Apache-2.0
// Addresses asked about before they are offered: who answers, who is silent, and how many fit.
#include "control/dhcp/offer_checks.h"

#include <cstring>
#include <gtest/gtest.h>

#include "net/wire.h"

namespace vmnat::control {
namespace {

using std::chrono::milliseconds;

constexpr net::MacAddr kClient{{0x52, 0x54, 0, 0, 0, 1}}, kStranger{{0x52, 0x54, 0, 0, 0, 9}};
constexpr auto kAddress = net::Ipv4Addr::of(192, 168, 122, 9);

dhcp::Frame frame_from(net::MacAddr mac) {
  const net::EthernetHeader ethernet{.destination = net::kBroadcastMac, .source = mac, .type = {}};
  dhcp::Frame frame(sizeof ethernet);
  std::memcpy(frame.data(), &ethernet, sizeof ethernet);
  return frame;
}

class OfferChecksTest : public testing::Test {
 protected:
  bool add(net::MacAddr client = kClient, net::Ipv4Addr address = kAddress, PortIndex port = 1,
           unsigned per_second = 0) {
    return checks.add({.network = 0,
                       .address = address,
                       .port = port,
                       .client = client,
                       .frame = frame_from(client),
                       .asked = now},
                      per_second);
  }
  static net::MacAddr client_number(unsigned number) {
    net::MacAddr client = kClient;
    client.bytes[4] = static_cast<std::uint8_t>(number >> 8);
    client.bytes[5] = static_cast<std::uint8_t>(number);
    return client;
  }
  static net::Ipv4Addr address_number(unsigned number) {
    return net::Ipv4Addr::from_host(kAddress.host() + number);
  }
  OfferChecks checks;
  SteadyTime now{std::chrono::hours(1)};
};

TEST_F(OfferChecksTest, AfterTwoQuestionsAndNoAnswerTheAddressIsFree) {
  ASSERT_TRUE(add());
  EXPECT_EQ(checks.take_questions().size(), 1u);
  EXPECT_TRUE(checks.take_unanswered(now + milliseconds(199)).empty());
  EXPECT_TRUE(checks.take_questions().empty());
  EXPECT_TRUE(checks.take_unanswered(now + milliseconds(200)).empty());
  EXPECT_EQ(checks.take_questions().size(), 1u);
  EXPECT_TRUE(checks.take_unanswered(now + milliseconds(399)).empty());
  EXPECT_TRUE(checks.take_questions().empty());
  const auto unanswered = checks.take_unanswered(now + milliseconds(400));
  ASSERT_EQ(unanswered.size(), 1u);
  EXPECT_EQ(unanswered[0].address, kAddress);
  EXPECT_TRUE(checks.take_unanswered(now + milliseconds(800)).empty());
}

TEST_F(OfferChecksTest, WhatWaitsForAnAddressIsFoundByItAndTakenOut) {
  add();
  ASSERT_NE(checks.waiting_for(0, kAddress), nullptr);
  EXPECT_EQ(checks.waiting_for(0, kAddress)->client, kClient);
  EXPECT_EQ(checks.waiting_for(1, kAddress), nullptr) << "of another network";
  EXPECT_EQ(checks.waiting_for(0, address_number(1)), nullptr);
  EXPECT_EQ(checks.take(0, kAddress).frame, frame_from(kClient));
  EXPECT_EQ(checks.waiting_for(0, kAddress), nullptr);
}

TEST_F(OfferChecksTest, ARepeatedDiscoverTakesThePlaceOfTheOneBeforeAndAsksNobodyAgain) {
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(add(kClient, kAddress, 1, 1));
    now += milliseconds(7);
  }
  EXPECT_EQ(checks.take_questions().size(), 1u);
  EXPECT_EQ(checks.asked(), 1u);
  EXPECT_EQ(checks.take_unanswered(now + milliseconds(50)).size(), 1u) << "400 ms after the first";
}

TEST_F(OfferChecksTest, ClientsBehindOneRelayWaitBesideEachOther) {
  for (unsigned i = 0; i < 15; ++i)
    ASSERT_TRUE(checks.add({.address = address_number(i),
                            .port = 1,
                            .client = client_number(i),
                            .frame = frame_from(kStranger),  // the relay's
                            .asked = now},
                           OfferChecks::kOfASegment));
  EXPECT_EQ(checks.take_unanswered(now + milliseconds(400)).size(), 15u);
}

TEST_F(OfferChecksTest, APortThatAsksForManyCostsNoOtherPortItsChecks) {
  for (PortIndex port = 1; port <= 2; ++port)
    for (unsigned i = 0; i < 200; ++i)
      EXPECT_EQ(add(client_number(i), address_number(i), port, OfferChecks::kOfAVm), i < 8);
  EXPECT_EQ(checks.skipped(), 2 * 192u);
  EXPECT_TRUE(add(kStranger, address_number(9), 3, OfferChecks::kOfAVm));
  now += milliseconds(500);
  checks.take_unanswered(now);
  checks.take_questions();
  for (unsigned i = 0; i < 10; ++i) add(client_number(i), address_number(i), 1, OfferChecks::kOfAVm);
  EXPECT_EQ(checks.take_questions().size(), 2u) << "four a second";
}

TEST_F(OfferChecksTest, WhatDoesNotFitIsSkippedAndCounted) {
  for (unsigned i = 0; i <= OfferChecks::kAtOnce; ++i)
    EXPECT_EQ(add(client_number(i), address_number(i)), i < OfferChecks::kAtOnce);
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
