// SPDX-License-Identifier: Apache-2.0
// Which tables of a state are made anew, and what a link that goes takes with it.
#include "control/slow_path/switch_tables.h"

#include <gtest/gtest.h>

#include "control/plan/initial_state.h"
#include "tests/control/plan/configured.h"

namespace vmnat::control {
namespace {

constexpr PortIndex kVm1 = 1, kVm3 = 3;  // of red and of blue
constexpr NetworkIndex kRed = 0, kBlue = 1;
constexpr net::MacAddr kMac{{0x52, 0x54, 0, 0, 0, 9}};

struct SwitchTablesTest : testing::Test {
  config::Config config = configured(kTwoNetworks);
  std::vector<PortPlan> ports = plan_ports(config, 1);
  StatePublisher states{initial_state(config, ports)};
  VmPlaces places{ports};
  SwitchTables tables{ports, places, states};

  std::vector<bool> publish() {
    dataplane::ForwardingState next = states.current();
    auto anew = tables.fill(next);
    states.publish(std::move(next));
    return anew;
  }
  const PortIndex* port_of(net::MacAddr mac, NetworkIndex network) {
    return states.current().networks[network].macs.find(mac.as_word());
  }
};

TEST_F(SwitchTablesTest, AllIsMadeOnceAndThenOnlyTheNetworkThatHasChanged) {
  EXPECT_TRUE(tables.has_changed());
  EXPECT_EQ(publish(), (std::vector{true, true}));
  EXPECT_FALSE(tables.has_changed());
  tables.learn({.mac = kMac, .port = kVm3});
  EXPECT_TRUE(tables.has_changed());
  EXPECT_EQ(publish(), (std::vector{false, true}));
  tables.learn({.mac = kMac, .port = kVm3});
  EXPECT_FALSE(tables.has_changed()) << "it is known";
  EXPECT_EQ(tables.owner_tables_made(), 1u);
  EXPECT_EQ(tables.mac_tables_made(), 3u);
  ASSERT_NE(port_of(kMac, kBlue), nullptr);
  EXPECT_EQ(*port_of(kMac, kBlue), kVm3);
  EXPECT_EQ(port_of(kMac, kRed), nullptr);
}

TEST_F(SwitchTablesTest, MacsGoWithTheLinkOfTheirPort) {
  tables.learn({.mac = kMac, .port = kVm1});
  publish();
  tables.follow_link(kVm1, false);
  publish();
  EXPECT_EQ(port_of(kMac, kRed), nullptr);
}

TEST_F(SwitchTablesTest, ALeasedMacIsTheLeasesPortsWhateverOthersReport) {
  dhcp::Lease lease{.address = net::Ipv4Addr::of(192, 168, 122, 9), .mac = kMac};
  lease.port = "vm1";
  lease.state = dhcp::LeaseState::Bound;
  const DhcpService::News news[] = {{.network = kRed, .is_whole = false, .leases = {lease}}};
  publish();
  tables.follow_leases(news);
  EXPECT_TRUE(tables.has_changed());
  publish();
  tables.learn({.mac = kMac, .port = 2});
  EXPECT_FALSE(tables.has_changed());
  EXPECT_EQ(port_of(kMac, kRed), nullptr);
  tables.learn({.mac = kMac, .port = kVm1});
  publish();
  ASSERT_NE(port_of(kMac, kRed), nullptr);
  EXPECT_EQ(*port_of(kMac, kRed), kVm1);
}

TEST_F(SwitchTablesTest, APortThatLeavesOwnsNothingAndOneThatComesOwnsWhatItIsGiven) {
  tables.learn({.mac = kMac, .port = kVm1});
  publish();
  ports[kVm1] = {.name = "vm1", .exists = false};
  ports.push_back(
      {.name = "vm9",
       .network = kRed,
       .config = std::make_shared<const config::VmPort>(config::VmPort{.name = "vm9", .mac = kMac})});
  dataplane::ForwardingState next = states.current();
  set_topology(config, ports, next);
  states.publish(std::move(next));
  places.follow_ports();
  const PortIndex left[] = {kVm1};
  tables.follow_plan(left);
  publish();
  EXPECT_EQ(port_of(kMac, kRed), nullptr);
  const PortIndex* const owner = states.current().networks[kRed].mac_owners.find(kMac.as_word());
  ASSERT_NE(owner, nullptr);
  EXPECT_EQ(*owner, 4);
}

}  // namespace
}  // namespace vmnat::control
