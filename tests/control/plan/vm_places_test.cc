// SPDX-License-Identifier: Apache-2.0
// Links come and go, and a VM is at one of its ports.
#include "control/plan/vm_places.h"

#include <gtest/gtest.h>
#include <random>

#include "tests/control/plan/configured.h"

namespace vmnat::control {
namespace {

using Move = VmPlaces::Move;

constexpr PortIndex kVm1 = 1, kOther = 2, kVm1b = 3, kVm1c = 4;

struct Places : ::testing::Test {
  const config::Config config = configured(
      "  - {name: a, address: 10.1.0.1/24, ports: [{name: vm1, vhost_user: /1}, {name: other, vhost_user: "
      "/2},\n"
      "     {name: vm1b, vhost_user: /3, migrates_from: vm1}, {name: vm1c, vhost_user: /4, migrates_from: "
      "vm1}]}\n");
  std::vector<PortPlan> ports = plan_ports(config, 3);
  VmPlaces places{ports};
};

TEST_F(Places, AVmComesAlongOnceItsPortIsDownAndAnotherOfItsPortsIsUp) {
  EXPECT_EQ(places.follow_link(kVm1, true), std::nullopt);
  EXPECT_EQ(places.follow_link(kVm1b, true), std::nullopt) << "it is still at vm1";
  EXPECT_EQ(places.follow_link(kVm1, false), (Move{kVm1, kVm1b}));
  EXPECT_EQ(places.follow_link(kVm1, true), std::nullopt) << "whoever that is";
  EXPECT_EQ(places.follow_link(kVm1b, false), (Move{kVm1b, kVm1}));
}

TEST_F(Places, TheOrderOfGoingAndComingDoesNotMatter) {
  places.follow_link(kVm1, true);
  EXPECT_EQ(places.follow_link(kVm1, false), std::nullopt);
  EXPECT_EQ(places.follow_link(kVm1b, true), (Move{kVm1, kVm1b}));
  EXPECT_EQ(places.follow_link(kVm1b, false), std::nullopt);
  EXPECT_EQ(places.follow_link(kVm1c, true), (Move{kVm1b, kVm1c}));
}

TEST_F(Places, AVmThatRebootsStaysWhereItIs) {
  places.follow_link(kVm1, true);
  EXPECT_EQ(places.follow_link(kVm1, false), std::nullopt);
  EXPECT_EQ(places.follow_link(kVm1, true), std::nullopt);
}

TEST_F(Places, APortThatIsNotNamedTakesNothingOver) {
  places.follow_link(kVm1, true);
  places.follow_link(kOther, true);
  EXPECT_EQ(places.follow_link(kVm1, false), std::nullopt);
  EXPECT_EQ(places.follow_link(kOther, false), std::nullopt);
}

// Against the rule in words, on any order of links.
TEST_F(Places, NobodyTakesOverFromAPortThatIsUp) {
  std::mt19937 random(1);
  std::array<bool, 5> is_up{};
  PortIndex at = kVm1;
  for (int i = 0; i < 10'000; ++i) {
    const auto port = static_cast<PortIndex>(1 + random() % 4);
    is_up[port] = !is_up[port];
    const auto move = places.follow_link(port, is_up[port]);
    const bool is_elsewhere = is_up[kVm1] || is_up[kVm1b] || is_up[kVm1c];
    ASSERT_EQ(move.has_value(), port != kOther && !is_up[at] && is_elsewhere);
    if (!move) continue;
    ASSERT_EQ(move->from, at);
    ASSERT_TRUE(is_up[move->to]);
    at = move->to;
  }
}

TEST_F(Places, WhatAVmIsKnownByIsItsOrigin) {
  places.follow_link(kVm1b, true);
  EXPECT_EQ(places.vm_at(kVm1b), kVm1);
  EXPECT_EQ(places.port_of(kVm1), kVm1b);
  EXPECT_EQ(places.vm_at(kVm1), kVm1b) << "each name is that of one port";
  EXPECT_EQ(places.port_of(kVm1b), kVm1);
  EXPECT_EQ(places.vm_at(kOther), kOther);
}

TEST_F(Places, AVmWhosePortLeavesIsAtItsOrigin) {
  places.follow_link(kVm1b, true);
  ports[kVm1b].exists = false;
  places.follow_ports();
  for (const PortIndex port : {kVm1, kOther, kVm1b, kVm1c}) {
    EXPECT_EQ(places.vm_at(port), port);
    EXPECT_EQ(places.port_of(port), port);
  }
  EXPECT_EQ(places.follow_link(kVm1c, true), (Move{kVm1, kVm1c}));
}

TEST_F(Places, AMoveOutlastsThatOtherPortsComeAndLeave) {
  places.follow_link(kVm1b, true);
  ports[kVm1c].exists = ports[kOther].exists = false;
  ports.push_back(ports[kOther]);
  ports.back().exists = true;
  places.follow_ports();
  EXPECT_EQ(places.port_of(kVm1), kVm1b);
  EXPECT_EQ(places.port_of(5), 5);
  EXPECT_EQ(places.follow_link(kVm1, true), std::nullopt) << "vm1b is still up";
}

// The number of a port that was up is another's by now.
TEST_F(Places, ANumberThatIsGivenAnewIsDown) {
  places.follow_link(kVm1c, true);
  ports[kVm1c].exists = false;
  places.follow_ports();
  ports[kVm1c].exists = true;
  places.follow_ports();
  EXPECT_EQ(places.port_of(kVm1), kVm1);
  EXPECT_EQ(places.follow_link(kVm1, false), std::nullopt);
}

// Any order of links, ports that leave and that come: the names are a permutation of the ports, and those of ports
// that are not there are at home.
TEST_F(Places, EachNameIsAlwaysOfOnePort) {
  std::mt19937 random(2);
  for (int i = 0; i < 10'000; ++i) {
    const auto port = static_cast<PortIndex>(2 + random() % 3);
    if (random() % 4 == 0) {
      ports[port].exists = !ports[port].exists;
      places.follow_ports();
    } else if (const auto other = static_cast<PortIndex>(1 + random() % 4); ports[other].exists) {
      places.follow_link(other, random() % 2 == 0);
    }
    for (PortIndex at = 0; at < ports.size(); ++at) {
      ASSERT_EQ(places.port_of(places.vm_at(at)), at);
      const bool is_at_home = !ports[at].exists || at == kOther;
      ASSERT_TRUE(!is_at_home || places.vm_at(at) == at);
    }
  }
}

TEST_F(Places, ItsPortsHaveTheSameWorker) {
  EXPECT_EQ(ports[kVm1b].owner, ports[kVm1].owner);
  EXPECT_EQ(ports[kVm1c].owner, ports[kVm1].owner);
  EXPECT_NE(ports[kOther].owner, ports[kVm1].owner);
  EXPECT_EQ(origin_of(ports, ports[kVm1c]), kVm1);
  EXPECT_EQ(origin_of(ports, ports[kOther]), kOther);
  EXPECT_EQ(origin_of(ports, ports[0]), 0);
}

}  // namespace
}  // namespace vmnat::control
