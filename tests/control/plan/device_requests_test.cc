// SPDX-License-Identifier: Apache-2.0
// Which devices a configuration asks for.
#include "control/plan/device_requests.h"

#include <gtest/gtest.h>

#include "tests/control/plan/configured.h"

namespace vmnat::control {
namespace {

TEST(DeviceRequests, OneForEachPortWithTheMtuOfItsNetworkAndTheUplinkFirst) {
  const auto config = configured(
      "  - {name: a, address: 10.1.0.1/24, mtu: 9000,\n"
      "     ports: [{name: vm1, vhost_user: /run/vm1.sock, mode: server, queues: 2}, {name: vm2, device: "
      "{interface: veth2, driver: xdp}}]}\n");
  const auto requests = plan_devices(config, plan_ports(config, 3), 3);
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(requests[0].name, "uplink");
  EXPECT_EQ(requests[0].device, "eth0");
  EXPECT_EQ(requests[0].mtu, 1400);
  EXPECT_EQ(requests[0].queues, 3u) << "one for each worker, if the device has them";
  EXPECT_TRUE(requests[0].fewer_queues_will_do);
  EXPECT_EQ(requests[0].promiscuous, Promiscuous::No);
  EXPECT_EQ(requests[1].name, "port vm1");
  EXPECT_EQ(requests[1].vhost_user, "/run/vm1.sock");
  EXPECT_EQ(requests[1].mode, config::VhostMode::Server);
  EXPECT_EQ(requests[1].mtu, 9000);
  EXPECT_EQ(requests[1].queues, 2u);
  EXPECT_FALSE(requests[1].fewer_queues_will_do);
  EXPECT_EQ(requests[2].device, "veth2");
  EXPECT_EQ(requests[2].driver, config::KernelDriver::Xdp);
  EXPECT_TRUE(requests[2].is_kernel_interface());
  EXPECT_EQ(requests[2].promiscuous, Promiscuous::Yes) << "the gateway's MAC is not the device's";
  for (unsigned i = 0; i < requests.size(); ++i) EXPECT_EQ(requests[i].number, i);
}

TEST(DeviceRequests, WhatAPortSaysOfItsSocketGoesBeforeWhatIsSaidOfAll) {
  const auto config = configured(
      "  - {name: a, address: 10.1.0.1/24,\n"
      "     ports: [{name: vm1, vhost_user: vm1.sock}, {name: vm2, vhost_user: vm2.sock, access: {group: "
      "lab, mode: "
      "\"0666\"}}]}\n");
  const auto requests = plan_devices(config, plan_ports(config, 1), 1);
  EXPECT_EQ(requests[1].vhost_user, "/run/vmnat/vm1.sock");
  const auto is = [](const config::SocketAccess& access, const char* owner, const char* group,
                     unsigned mode) {
    return access == config::SocketAccess{.owner = owner, .group = group, .mode = config::FileMode{mode}};
  };
  EXPECT_TRUE(is(requests[1].access, "root", "kvm", 0770));
  EXPECT_TRUE(is(requests[2].access, "root", "lab", 0666));
  auto other = requests[2];
  other.access.group = "kvm";
  EXPECT_FALSE(is_same_device(requests[2], other)) << "it is opened anew";
}

// The uplink is VLAN 100 of net_tap0, two ports are others of it, and one is a VLAN of a device of its own.
config::Config trunk_config() {
  auto config = configured(
      "  - {name: a, address: 10.1.0.1/24, mtu: 9000, ports: [{name: lab10, device: net_tap0, vlan: 10}]}\n"
      "  - {name: b, address: 10.2.0.1/24,\n"
      "     ports: [{name: lab20, device: net_tap0, vlan: 20}, {name: lab30, device: net_tap1, vlan: "
      "30}]}\n");
  config.uplink.device.name = "net_tap0";
  config.uplink.vlan = 100;
  return config;
}

TEST(DeviceRequests, ATrunkIsOpenedByWhoeverIsFirstWithWhatAllOfItsPortsNeed) {
  const auto config = trunk_config();
  const auto requests = plan_devices(config, plan_ports(config, 3), 3);
  ASSERT_EQ(requests.size(), 4u);
  for (const unsigned port : {0u, 1u, 2u}) {
    EXPECT_EQ(requests[port].trunk(), "net_tap0");
    EXPECT_EQ(requests[port].trunk_mtu, 9000);
    EXPECT_EQ(requests[port].queues, 1u) << "however many workers there are";
    EXPECT_EQ(requests[port].promiscuous, Promiscuous::Yes);
  }
  EXPECT_EQ(requests[0].mtu, 1400);
  EXPECT_EQ(requests[0].vlan, 100);
  EXPECT_EQ(requests[2].vlan, 20);
  EXPECT_EQ(requests[3].trunk(), "net_tap1");
  EXPECT_EQ(requests[3].trunk_mtu, 1500);
}

TEST(DeviceRequests, AnUplinkThatIsAloneOnItsDeviceKeepsItsQueues) {
  auto config = trunk_config();
  for (auto& network : config.networks) network.ports.clear();
  const auto requests = plan_devices(config, plan_ports(config, 3), 3);
  EXPECT_EQ(requests[0].queues, 3u);
  EXPECT_EQ(requests[0].trunk(), "");
  EXPECT_EQ(requests[0].promiscuous, Promiscuous::No);
  EXPECT_EQ(plan_devices(config, plan_ports(config, 1), 1)[0].trunk(), "net_tap0") << "one is enough";
}

TEST(DeviceRequests, VlansOfADeviceAreApartIfTheyHaveOneQueueAndNameItAlike) {
  const DeviceRequest one{.device = "net_tap0,iface=a", .vlan = 10};
  DeviceRequest other = one;
  EXPECT_TRUE(is_same_place(one, other));
  other.vlan = 11;
  EXPECT_FALSE(is_same_place(one, other));
  other.queues = 2;
  EXPECT_TRUE(is_same_place(one, other));
  other = {.device = "net_tap0,iface=b", .vlan = 11};
  EXPECT_TRUE(is_same_place(one, other)) << "it has to be opened anew";
  other = {.device = "net_tap0,iface=a"};
  EXPECT_TRUE(is_same_place(one, other));
  EXPECT_FALSE(is_same_place({.device = "net_tap1", .vlan = 10}, one));
  EXPECT_TRUE(is_same_place({.device = "3b:00.0"}, {.device = "0000:3b:00.0"}));
}

}  // namespace
}  // namespace vmnat::control
