// SPDX-License-Identifier: Apache-2.0
// The host's port on a network: numbered, asked for, and over a change of the configuration.
#include <gtest/gtest.h>

#include "control/plan/gateway_plan.h"
#include "control/plan/initial_state.h"
#include "tests/control/plan/configured.h"

namespace vmnat::control {
namespace {

std::string networks(const std::string& host) {
  return "  - {name: red, address: 192.168.122.1/24, mtu: 1400, " + host +
         "ports: [{name: vm1, device: veth1}]}\n"
         "  - {name: blue, address: 192.168.5.1/24, ports: [{name: vm2, device: veth2}]}\n";
}
const std::string kHost = "host: {interface: vmnat0, services: [tcp/22, udp/5000-5100]}, ";

TEST(HostPlan, AStartNumbersTheHostsPortBehindThoseOfVms) {
  const auto ports = plan_ports(configured(networks(kHost)), 2);
  ASSERT_EQ(ports.size(), 4u);
  EXPECT_EQ(ports[3].name, "vmnat0");
  EXPECT_TRUE(ports[3].is_host);
  EXPECT_EQ(ports[3].config, nullptr);
  EXPECT_EQ(ports[3].network, 0);
  EXPECT_EQ(ports[3].mtu, 1400);
  EXPECT_EQ(ports[3].owner, 1);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_FALSE(ports[i].is_host);
}

TEST(HostPlan, AsksForAnInterfaceWithTheGatewaysAddressAndMac) {
  const auto config = configured(networks(kHost));
  const auto request = plan_devices(config, plan_ports(config, 1), 1)[3];
  EXPECT_EQ(request.device, "vmnat0");
  EXPECT_EQ(request.mtu, 1400);
  ASSERT_TRUE(request.host);
  EXPECT_EQ(net::to_string(request.host->address), "192.168.122.1/24");
  EXPECT_EQ(request.host->mac, gateway_mac(config.networks[0]));
}

TEST(HostPlan, TheStateHasItBesideTheVmsWithWhatIsOpen) {
  const auto config = configured(networks(kHost));
  const auto state = initial_state(config, plan_ports(config, 1));
  const dataplane::Network& red = state.networks[0];
  EXPECT_EQ(red.host.port, 3);
  EXPECT_EQ(red.ports, std::vector<PortIndex>{1});
  EXPECT_TRUE(state.ports[3].is_host);
  const auto is_open = [&](net::Protocol protocol, std::uint16_t port) {
    return red.host.has_service(protocol, net::L4Port::from_host(port));
  };
  EXPECT_TRUE(is_open(net::Protocol::Tcp, 22));
  EXPECT_FALSE(is_open(net::Protocol::Udp, 22));
  EXPECT_TRUE(is_open(net::Protocol::Udp, 5000) && is_open(net::Protocol::Udp, 5100));
  EXPECT_FALSE(is_open(net::Protocol::Udp, 4999) || is_open(net::Protocol::Udp, 5101));
  EXPECT_FALSE(state.networks[1].host.is_there());
}

TEST(HostPlan, DnsIsOpenWhereTheGatewayServesIt) {
  const auto is_open = [](const std::string& keys) {
    const auto config = configured(networks(kHost + keys));
    const auto state = initial_state(config, plan_ports(config, 1));
    const auto at = net::L4Port::from_host(53);
    return state.networks[0].host.has_service(net::Protocol::Udp, at) &&
           state.networks[0].host.has_service(net::Protocol::Tcp, at);
  };
  EXPECT_TRUE(is_open("dhcp: {}, "));
  EXPECT_TRUE(is_open("dns: {}, "));
  EXPECT_FALSE(is_open("dhcp: {dns: host}, "));
}

struct Change {
  const char* says;
  std::string before, after;
  std::vector<PortIndex> left, come;
};

TEST(HostPlan, AChangeOpensItsInterfaceAnewWhereThatHasToBeAnother) {
  const std::string closed = "host: {interface: vmnat0}, ", other = "host: {interface: vmnat1}, ";
  const std::string mac = kHost + "mac: 52:54:00:00:01:01, ";
  const Change changes[] = {{"other services", kHost, closed, {}, {}},
                            {"it comes", "", kHost, {}, {3}},
                            {"it leaves", kHost, "", {3}, {}},
                            {"another interface", kHost, other, {3}, {4}},
                            {"another MAC", kHost, mac, {3}, {4}}};
  for (const auto& [says, before, after, left, come] : changes) {
    const GatewayPlan running = plan_gateway(configured(networks(before)), 1);
    const auto next = plan_change(running, configured(networks(after)));
    ASSERT_TRUE(next) << says;
    const TopologyChange change = difference(running, *next);
    EXPECT_EQ(change.ports_left, left) << says;
    EXPECT_EQ(change.ports_come, come) << says;
  }
}

}  // namespace
}  // namespace vmnat::control
