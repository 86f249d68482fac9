// SPDX-License-Identifier: Apache-2.0
// ARP frames byte by byte, and what is read of others'.
#include "net/arp.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <vector>

namespace vmnat::net {
namespace {

constexpr MacAddr kOwn{{0x52, 0x54, 0, 0, 0, 1}}, kOther{{0x52, 0x54, 0, 0, 0, 2}};
constexpr auto kOwnAddress = Ipv4Addr::of(203, 0, 113, 2), kOtherAddress = Ipv4Addr::of(203, 0, 113, 1);

std::vector<unsigned> numbers(std::span<const std::byte> bytes) {
  std::vector<unsigned> numbers;
  for (const std::byte byte : bytes) numbers.push_back(static_cast<unsigned>(byte));
  return numbers;
}

TEST(Arp, ARequestIsBroadcastAndAsksForTheTarget) {
  std::vector<unsigned> expected{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0,    0,    0,   1, 8,   6,
                                 0,    1,    8,    0,    6,    4,    0,    1,    0x52, 0x54, 0,   0, 0,   1,
                                 203,  0,    113,  2,    0,    0,    0,    0,    0,    0,    203, 0, 113, 1};
  expected.resize(60);
  EXPECT_EQ(numbers(arp_request(kOwn, kOwnAddress, kOtherAddress).bytes()), expected);
}

TEST(Arp, AReplyGoesToWhoAskedAndSwapsTheRoles) {
  const ArpFrame request = arp_request(kOther, kOtherAddress, kOwnAddress);
  const ArpFrame reply = arp_reply(request.arp, kOwn);
  EXPECT_EQ(reply.ethernet.destination, kOther);
  EXPECT_EQ(reply.ethernet.source, kOwn);
  EXPECT_EQ(reply.ethernet.ether_type(), EtherType::Arp);
  EXPECT_EQ(reply.arp.op(), ArpOperation::Reply);
  EXPECT_EQ(reply.arp.sender_mac, kOwn);
  EXPECT_EQ(reply.arp.sender_address, kOwnAddress);
  EXPECT_EQ(reply.arp.target_mac, kOther);
  EXPECT_EQ(reply.arp.target_address, kOtherAddress);
}

TEST(Arp, ReverseArpHasATypeOfItsOwn) {
  EXPECT_EQ(arp_frame(kOwn, kBroadcastMac, ArpOperation::ReverseRequest).ethernet.ether_type(),
            EtherType::Rarp);
}

TEST(Arp, AClaimIsWhatASenderSaysOfItself) {
  const ArpFrame request = arp_request(kOther, kOtherAddress, kOwnAddress);
  const auto claim = arp_claim_in(request.bytes());
  ASSERT_TRUE(claim);
  EXPECT_EQ(claim->mac, kOther);
  EXPECT_EQ(claim->address, kOtherAddress);
  for (std::size_t length = 0; length < 42; ++length)
    EXPECT_FALSE(arp_claim_in(request.bytes().first(length))) << length;
  EXPECT_FALSE(arp_claim_in(arp_request({}, kOtherAddress, kOwnAddress).bytes())) << "of no station";
  ArpFrame other = request;
  other.arp.hardware_length = 8;
  EXPECT_FALSE(arp_claim_in(other.bytes()));
}

}  // namespace
}  // namespace vmnat::net
