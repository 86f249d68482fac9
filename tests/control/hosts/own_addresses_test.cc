// SPDX-License-Identifier: Apache-2.0
// OwnAddresses against a clock that the test owns.
#include "control/hosts/own_addresses.h"

#include <gtest/gtest.h>

#include "net/wire.h"

namespace vmnat::control {
namespace {

using namespace std::chrono_literals;

constexpr net::MacAddr kOwnMac{{0x52, 0x54, 0, 0, 0, 1}};
const auto kOwn = net::Ipv4Addr::of(203, 0, 113, 9), kOther = net::Ipv4Addr::of(203, 0, 113, 10);

struct OwnAddressesTest : ::testing::Test {
  OwnAddresses own{kOwnMac};
  SteadyTime now{1000s};

  // The addresses announced until then.
  std::vector<net::Ipv4Addr> wait(std::chrono::milliseconds time) {
    now += time;
    own.advance(now);
    std::vector<net::Ipv4Addr> announced;
    for (const FrameBytes& frame : own.take_output()) {
      const auto& ethernet = *net::view<net::EthernetHeader>(frame);
      const auto& arp = *net::view<net::ArpPacket>(frame, sizeof ethernet);
      EXPECT_EQ(ethernet.destination, net::kBroadcastMac);
      EXPECT_EQ(ethernet.source, kOwnMac);
      EXPECT_EQ(arp.op(), net::ArpOperation::Request);
      EXPECT_EQ(arp.sender_mac, kOwnMac);
      EXPECT_EQ(arp.sender_address, arp.target_address);
      announced.push_back(arp.sender_address);
    }
    return announced;
  }
};
using Addresses = std::vector<net::Ipv4Addr>;

TEST_F(OwnAddressesTest, AreAnnouncedTwiceTwoSecondsApart) {
  own.announce(kOwn, now);
  own.announce(kOther, now);
  EXPECT_EQ(wait(0ms), (Addresses{kOwn, kOther}));
  EXPECT_EQ(wait(1999ms), Addresses{});
  EXPECT_EQ(wait(1ms), (Addresses{kOwn, kOther}));
  EXPECT_EQ(wait(1h), Addresses{});
  EXPECT_EQ(own.announcements(), 4u);
}

TEST_F(OwnAddressesTest, AreAnnouncedTwiceAgainWhenTheLinkReturns) {
  own.announce(kOwn, now);
  wait(1s);
  own.announce(kOwn, now);
  EXPECT_EQ(wait(0ms), Addresses{kOwn});
  EXPECT_EQ(wait(1s), Addresses{});
  EXPECT_EQ(wait(1s), Addresses{kOwn});
  EXPECT_EQ(wait(1h), Addresses{});
}

TEST_F(OwnAddressesTest, ThatIsGivenUpIsNotAnnouncedAgain) {
  own.announce(kOwn, now);
  wait(0ms);
  own.withdraw(kOwn);
  EXPECT_EQ(wait(1h), Addresses{});
}

TEST_F(OwnAddressesTest, AreDefendedOnceInTenSecondsEach) {
  std::size_t announced = 0;
  for (int i = 0; i < 1000; ++i) {  // 10 s
    own.defend(kOwn, now);
    announced += wait(10ms).size();
  }
  EXPECT_EQ(announced, 1u);
  own.defend(kOther, now);
  own.defend(kOwn, now);
  EXPECT_EQ(wait(0ms), (Addresses{kOther, kOwn}));
  EXPECT_EQ(own.conflicts(), 1002u);
}

}  // namespace
}  // namespace vmnat::control
