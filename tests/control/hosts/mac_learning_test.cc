// SPDX-License-Identifier: Apache-2.0
#include "control/hosts/mac_learning.h"

#include <gtest/gtest.h>

namespace vmnat::control {
namespace {

net::MacAddr mac(std::size_t number) {
  return {{0x52, 0x54, 0, 0xaa, static_cast<std::uint8_t>(number >> 8), static_cast<std::uint8_t>(number)}};
}

struct MacLearningTest : ::testing::Test {
  MacLearning macs;
  // The port that frames to the MAC go to; 0: it is not known.
  PortIndex port_of(dataplane::NetworkIndex network, net::MacAddr address) {
    const auto table = macs.table(network);
    const auto* found = table.find(address.as_word());
    return found == nullptr ? PortIndex{0} : *found;
  }
};

TEST_F(MacLearningTest, KnowsAMacFromItsFirstFrame) {
  EXPECT_TRUE(macs.latest(1).is_zero());
  EXPECT_TRUE(macs.learn(0, mac(1), 1));
  EXPECT_FALSE(macs.learn(0, mac(1), 1)) << "no news";
  EXPECT_EQ(port_of(0, mac(1)), 1);
  EXPECT_EQ(port_of(0, mac(2)), 0);
  EXPECT_EQ(macs.latest(1), mac(1));
}

TEST_F(MacLearningTest, AMacMovesWithItsLastFrame) {
  macs.learn(0, mac(1), 1);
  EXPECT_TRUE(macs.learn(0, mac(1), 2));
  EXPECT_EQ(port_of(0, mac(1)), 2);
  EXPECT_TRUE(macs.latest(1).is_zero());
  EXPECT_TRUE(macs.of_port(1).empty());
}

TEST_F(MacLearningTest, NetworksDoNotShareMacs) {
  macs.learn(0, mac(1), 1);
  macs.learn(1, mac(1), 5);
  EXPECT_EQ(port_of(0, mac(1)), 1);
  EXPECT_EQ(port_of(1, mac(1)), 5);
}

TEST_F(MacLearningTest, TheNewestMacTakesTheOldestOnesRoomAndOtherPortsKeepTheirs) {
  macs.learn(0, mac(9999), 2);
  for (std::size_t i = 0; i <= MacLearning::kMaxPerPort; ++i) macs.learn(0, mac(i), 1);
  EXPECT_EQ(macs.of_port(1).size(), MacLearning::kMaxPerPort);
  EXPECT_EQ(port_of(0, mac(0)), 0);
  EXPECT_EQ(port_of(0, mac(1)), 1);
  EXPECT_EQ(macs.latest(1), mac(MacLearning::kMaxPerPort));
  EXPECT_EQ(port_of(0, mac(9999)), 2);
}

TEST_F(MacLearningTest, APortThatGoesDownIsForgottenWithAllItKnew) {
  macs.learn(0, mac(1), 1);
  macs.learn(0, mac(2), 1);
  macs.learn(0, mac(3), 2);
  EXPECT_TRUE(macs.forget_port(1));
  EXPECT_FALSE(macs.forget_port(1));
  EXPECT_EQ(port_of(0, mac(1)), 0);
  EXPECT_EQ(port_of(0, mac(2)), 0);
  EXPECT_EQ(port_of(0, mac(3)), 2);
  EXPECT_TRUE(macs.learn(0, mac(1), 1)) << "and learned again";
}

}  // namespace
}  // namespace vmnat::control
