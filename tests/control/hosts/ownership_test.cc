// SPDX-License-Identifier: Apache-2.0
// Who owns what, from the configuration, leases and links; with the state that workers get as the answer.
#include "control/hosts/ownership.h"

#include <gtest/gtest.h>
#include <random>

#include "control/plan/initial_state.h"

namespace vmnat::control {
namespace {

using dataplane::Guard;
using dataplane::kUplinkPort;

constexpr PortIndex kVm1 = 1, kVm2 = 2, kLab = 3;

net::MacAddr mac(std::uint8_t number) {
  return {{0x52, 0x54, 0, 0xaa, 0, number}};
}
net::Ipv4Addr address(std::uint8_t host) {
  return net::Ipv4Addr::of(192, 168, 122, host);
}
dhcp::Lease lease(const char* port, std::uint8_t number, std::uint8_t host,
                  dhcp::LeaseState state = dhcp::LeaseState::Bound) {
  return {.address = address(host), .mac = mac(number), .port = port, .state = state};
}

struct OwnershipTest : ::testing::Test {
  OwnershipTest() {
    config.uplink.address = net::Ipv4Prefix{net::Ipv4Addr::of(203, 0, 113, 2), 24};
    config.networks = {{.name = "default",
                        .address = {address(1), 24},
                        .ports = {{.name = "vm1", .vhost_user = "/1"},
                                  {.name = "vm2", .vhost_user = "/2"},
                                  {.name = "lab", .device = "veth0", .guard = config::PortGuard::Off}}}};
  }
  // The state after `change` was made to who owns what.
  dataplane::ForwardingState after(const std::function<void(Ownership&)>& change) {
    return after_moves([&](Ownership& ownership, const auto&) { change(ownership); });
  }
  using Move = std::function<void(PortIndex from, PortIndex to)>;
  // The VM that moves is at the second port from then on.
  dataplane::ForwardingState after_moves(const std::function<void(Ownership&, const Move&)>& change) {
    const auto ports = plan_ports(config, 1);
    dataplane::ForwardingState state = initial_state(config, ports);
    for (std::size_t i = 0; i < ports.size(); ++i) state.ports[i].up = i != down;
    VmPlaces places(ports);
    Ownership ownership(ports, places, state);
    change(ownership, [&](PortIndex from, PortIndex to) {
      places.follow_link(from, false);
      ASSERT_EQ(places.follow_link(to, true), (VmPlaces::Move{from, to}));
      ownership.note_moved(0);
    });
    EXPECT_TRUE(ownership.take_changed());
    ownership.bring_macs_home(learned);
    ownership.fill(state, learned);
    return state;
  }
  static int owner(const dataplane::WordTable<PortIndex>& owners, std::uint64_t word) {
    const PortIndex* found = owners.find(word);
    return found == nullptr ? -1 : *found;
  }
  static int owner_of(const dataplane::ForwardingState& state, net::MacAddr mac) {
    return owner(state.networks[0].mac_owners, mac.as_word());
  }
  static int owner_of(const dataplane::ForwardingState& state, net::Ipv4Addr address) {
    return owner(state.networks[0].address_owners, address.raw());
  }

  config::Config config;
  MacLearning learned;
  std::size_t down = 99;
};

TEST_F(OwnershipTest, WithoutLeasesThereIsTheGatewayAlone) {
  const auto state = after([](Ownership&) {});
  EXPECT_EQ(owner_of(state, address(1)), kUplinkPort);
  EXPECT_EQ(owner_of(state, state.networks[0].mac), kUplinkPort);
  EXPECT_EQ(owner_of(state, address(10)), -1);
  for (const PortIndex port : {kVm1, kVm2, kLab}) {
    EXPECT_EQ(state.ports[port].guard, Guard::GatewayOnly);
    EXPECT_EQ(state.ports[port].is_guarded, port != kLab) << "whoever owns what";
  }
}

TEST_F(OwnershipTest, ALeaseMakesThePortOwnItsMacAndAddressAndOthersMindThem) {
  learned.learn(0, mac(1), kVm1);
  const auto state = after([](Ownership& o) { o.note(0, lease("vm1", 1, 10)); });
  EXPECT_EQ(owner_of(state, address(10)), kVm1);
  EXPECT_EQ(owner_of(state, mac(1)), kVm1);
  EXPECT_EQ(state.ports[kVm1].guard, Guard::OwnBoth);
  EXPECT_EQ(state.ports[kVm1].usual_mac, mac(1));
  EXPECT_EQ(state.ports[kVm1].usual_address, address(10));
  EXPECT_EQ(state.ports[kVm2].guard, Guard::Others);
  EXPECT_EQ(state.ports[kLab].guard, Guard::GatewayOnly) << "guard: off";
}

TEST_F(OwnershipTest, AVmThatHasMovedToAnotherPortOwnsThereWhatItOwned) {
  config.networks[0].ports[0].mac = mac(7);
  config.networks[0].ports[1].migrates_from = "vm1";
  learned.learn(0, mac(1), kVm2);
  const auto state = after_moves([](Ownership& o, const Move& move) {
    o.note(0, lease("vm1", 1, 10));
    o.note(0, lease("vm2", 2, 20));
    move(kVm1, kVm2);
    o.note(0, lease("vm1", 1, 11));
  });
  for (const std::uint8_t host : {10, 11}) EXPECT_EQ(owner_of(state, address(host)), kVm2);
  for (const std::uint8_t number : {1, 7}) EXPECT_EQ(owner_of(state, mac(number)), kVm2);
  EXPECT_EQ(owner_of(state, address(20)), kVm1) << "and the other one's is where that VM came from";
  EXPECT_EQ(owner_of(state, address(1)), kUplinkPort);
  EXPECT_EQ(state.ports[kVm2].usual_mac, mac(1));
}

TEST_F(OwnershipTest, AVmThatHasMovedTwiceIsBack) {
  config.networks[0].ports[1].migrates_from = "vm1";
  const auto state = after_moves([](Ownership& o, const Move& move) {
    move(kVm1, kVm2);
    o.note(0, lease("vm1", 1, 10));
    move(kVm2, kVm1);
  });
  EXPECT_EQ(owner_of(state, address(10)), kVm1);
}

TEST_F(OwnershipTest, AnEndedLeaseGivesBothBack) {
  for (const auto end : {dhcp::LeaseState::Released, dhcp::LeaseState::Declined, dhcp::LeaseState::Expired}) {
    const auto state = after([&](Ownership& o) {
      o.note(0, lease("vm1", 1, 10));
      o.note(0, lease("vm1", 1, 10, end));
    });
    EXPECT_EQ(owner_of(state, address(10)), -1);
    EXPECT_EQ(owner_of(state, mac(1)), -1);
    EXPECT_EQ(state.ports[kVm1].guard, Guard::GatewayOnly);
  }
  const auto replaced = after([&](Ownership& o) {
    o.note(0, lease("vm1", 1, 10));
    o.replace(0, std::vector{lease("vm2", 2, 11)});
  });
  EXPECT_EQ(owner_of(replaced, address(10)), -1);
  EXPECT_EQ(owner_of(replaced, address(11)), kVm2);
}

TEST_F(OwnershipTest, ARenewalIsNoNewsAndAMoveIs) {
  const auto ports = plan_ports(config, 1);
  const VmPlaces places(ports);
  Ownership ownership(ports, places, initial_state(config, ports));
  ownership.take_changed();
  ownership.note(0, lease("vm1", 1, 10));
  EXPECT_TRUE(ownership.take_changed());
  ownership.note(0, lease("vm1", 1, 10));
  ownership.replace(0, std::vector{lease("vm1", 1, 10)});
  EXPECT_FALSE(ownership.take_changed());
  ownership.note(0, lease("vm2", 1, 10));
  EXPECT_TRUE(ownership.take_changed());
  ownership.note(0, lease("gone", 1, 10));
  EXPECT_TRUE(ownership.take_changed()) << "a lease of before a restart, of a port that is no more";
}

TEST_F(OwnershipTest, SeveralLeasesOfAPortAreAllItsOwnAndTheUsualSenderIsOneOfThem) {
  learned.learn(0, mac(1), kVm1);
  learned.learn(0, mac(2), kVm1);
  learned.learn(0, mac(9), kVm1);  // asks for a lease, has none
  const auto state = after([](Ownership& o) {
    o.note(0, lease("vm1", 1, 10));
    o.note(0, lease("vm1", 2, 11));
    o.note(0, lease("vm1", 3, 12));
  });
  for (const std::uint8_t host : {10, 11, 12}) EXPECT_EQ(owner_of(state, address(host)), kVm1);
  EXPECT_EQ(state.ports[kVm1].usual_mac, mac(2)) << "the newest that it owns";
  EXPECT_EQ(state.ports[kVm1].usual_address, address(11)) << "what goes with it";
}

TEST_F(OwnershipTest, APortThatIsDownKeepsItsAddressAndItsMac) {
  down = kVm1;
  const auto state = after([](Ownership& o) { o.note(0, lease("vm1", 1, 10)); });
  EXPECT_EQ(owner_of(state, address(10)), kVm1);
  EXPECT_EQ(owner_of(state, mac(1)), kVm1);
}

TEST_F(OwnershipTest, TheConfigurationsOwnersComeFirst) {
  config.networks[0].ports[0].mac = mac(1);
  config.networks[0].ports[1].mac = mac(2);
  config.networks[0].ports[1].address = address(20);
  down = kVm2;
  const auto state = after([](Ownership& o) {
    o.note(0, lease("lab", 1, 20));
    o.note(0, lease("lab", 7, 1));
  });
  EXPECT_EQ(owner_of(state, mac(1)), kVm1);
  EXPECT_EQ(owner_of(state, mac(2)), kVm2) << "up or down";
  EXPECT_EQ(owner_of(state, address(20)), kVm2);
  EXPECT_EQ(owner_of(state, address(1)), kUplinkPort);
  EXPECT_EQ(state.ports[kVm1].guard, Guard::OwnMac) << "no address of its own";
  EXPECT_EQ(state.ports[kVm2].guard, Guard::OwnBoth);
  EXPECT_EQ(state.ports[kLab].guard, Guard::GatewayOnly);
}

TEST_F(OwnershipTest, AMacThatWasLearnedElsewhereComesHome) {
  learned.learn(0, mac(1), kVm2);
  const auto state = after([](Ownership& o) { o.note(0, lease("vm1", 1, 10)); });
  EXPECT_EQ(learned.latest(kVm1), mac(1));
  EXPECT_TRUE(learned.latest(kVm2).is_zero());
  EXPECT_TRUE(state.ports[kVm2].usual_mac.is_zero());
}

TEST_F(OwnershipTest, FollowingWhatWasLearnedGivesTheSendersThatFillingInAnewGives) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    const auto ports = plan_ports(config, 1);
    dataplane::ForwardingState followed = initial_state(config, ports);
    for (dataplane::Port& port : followed.ports) port.up = true;
    const VmPlaces places(ports);
    Ownership ownership(ports, places, followed);
    learned = {};
    for (std::uint8_t i = 0; i < 6; ++i)
      if (random() % 2 == 0)
        ownership.note(0, lease(random() % 2 == 0 ? "vm1" : "vm2", i, static_cast<std::uint8_t>(10 + i)));
    const auto learn = [&] {
      const auto number = static_cast<std::uint8_t>(random() % 8);
      const auto port = static_cast<PortIndex>(random() % 3 + kVm1);
      const PortIndex* owner = followed.networks[0].mac_owners.find(mac(number).as_word());
      if (owner == nullptr || *owner == port) learned.learn(0, mac(number), port);
    };
    ownership.bring_macs_home(learned);
    ownership.fill(followed, learned);
    for (int i = 0; i < 6; ++i) {
      learn();
      ownership.follow_learning(0, followed, learned);
      dataplane::ForwardingState filled = followed;
      ownership.fill(filled, learned);
      for (const PortIndex port : {kVm1, kVm2, kLab}) {
        EXPECT_EQ(followed.ports[port].usual_mac, filled.ports[port].usual_mac);
        const bool is_owned = owner_of(filled, followed.ports[port].usual_address) == port;
        EXPECT_TRUE(followed.ports[port].usual_address == filled.ports[port].usual_address || is_owned);
      }
    }
  }
}

TEST_F(OwnershipTest, AFillAfterAChangeElsewhereIsTheSameAndAfterAChangeHereIsNew) {
  config.networks.push_back({.name = "other",
                             .address = {net::Ipv4Addr::of(192, 168, 5, 1), 24},
                             .ports = {{.name = "vm5", .vhost_user = "/5"}}});
  const auto ports = plan_ports(config, 1);
  dataplane::ForwardingState state = initial_state(config, ports);
  const VmPlaces places(ports);
  Ownership ownership(ports, places, state);
  ownership.note(0, lease("vm1", 1, 10));
  ownership.fill(state, learned);
  ownership.note(1, {.address = net::Ipv4Addr::of(192, 168, 5, 9),
                     .mac = mac(5),
                     .port = "vm5",
                     .state = dhcp::LeaseState::Bound});
  ownership.fill(state, learned);
  EXPECT_EQ(owner_of(state, address(10)), kVm1);
  EXPECT_EQ(owner(state.networks[1].mac_owners, mac(5).as_word()), 4);
  ownership.note(0, lease("vm1", 1, 10, dhcp::LeaseState::Expired));
  ownership.fill(state, learned);
  EXPECT_EQ(owner_of(state, address(10)), -1);
  EXPECT_EQ(owner_of(state, mac(1)), -1);
  EXPECT_EQ(owner(state.networks[1].mac_owners, mac(5).as_word()), 4);
}

}  // namespace
}  // namespace vmnat::control
