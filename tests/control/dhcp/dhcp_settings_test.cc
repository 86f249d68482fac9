// SPDX-License-Identifier: Apache-2.0
// From a network's dhcp section to the server's settings: every key arrives.
#include <gtest/gtest.h>

#include "control/config/load.h"
#include "control/dhcp/dhcp_service.h"

namespace vmnat::control {
namespace {

config::Network network_with(const std::string& forward, const std::string& dhcp) {
  const auto loaded = config::load_config_text(
      "uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1}\n"
      "networks:\n  - {name: red, address: 192.168.122.1/24, mac: 52:54:00:00:01:01, mtu: 1400, forward: " +
          forward + ", dhcp: {" + dhcp + "}}\n",
      "test.yaml");
  if (loaded) return loaded->networks.front();
  throw std::runtime_error(to_string(loaded.error().front()));
}

TEST(DhcpSettings, EveryKeyOfTheSectionArrives) {
  const auto settings = dhcp_settings(network_with(
      "nat",
      "ranges: [192.168.122.2-192.168.122.9, 192.168.122.20-192.168.122.30], lease_time: 10m, dns: [9.9.9.9],"
      " domain: lab.example, search: [a.example, b.example], ntp: [192.0.2.1],"
      " routes: [{to: 10.0.0.0/8, via: 192.168.122.5}], boot: {server: 192.168.122.6, file: boot.0, ipxe: "
      "boot.ipxe,"
      " by_arch: [{arch: 7, file: boot.efi}]}, identity: port, check_before_offer: false,"
      " options: [{code: 252, text: \"http://wpad/\"}, {code: 224, hex: \"0a0b\"}],"
      " reservations: [{mac: 52:54:00:aa:00:01, address: 192.168.122.10, hostname: web1}]"));
  EXPECT_EQ(net::to_string(settings.gateway), "192.168.122.1/24");
  EXPECT_EQ(net::to_string(settings.gateway_mac), "52:54:00:00:01:01");
  ASSERT_EQ(settings.ranges.size(), 2u);
  EXPECT_EQ(net::to_string(settings.ranges[1].last), "192.168.122.30");
  EXPECT_EQ(settings.lease_time, std::chrono::minutes(10));
  ASSERT_EQ(settings.dns.size(), 1u);
  EXPECT_EQ(settings.domain, "lab.example");
  EXPECT_EQ(settings.search, (std::vector<std::string>{"a.example", "b.example"}));
  ASSERT_EQ(settings.ntp.size(), 1u);
  EXPECT_EQ(net::to_string(settings.ntp[0]), "192.0.2.1");
  ASSERT_EQ(settings.routes.size(), 1u);
  EXPECT_EQ(net::to_string(settings.routes[0].to), "10.0.0.0/8");
  EXPECT_EQ(net::to_string(settings.routes[0].via), "192.168.122.5");
  ASSERT_EQ(settings.boot.size(), 3u);
  for (const auto& boot : settings.boot) EXPECT_EQ(net::to_string(boot.server), "192.168.122.6");
  EXPECT_TRUE(settings.boot[0].for_ipxe);
  EXPECT_EQ(settings.boot[0].file, "boot.ipxe");
  EXPECT_EQ(settings.boot[1].architecture, 7);
  EXPECT_EQ(settings.boot[1].file, "boot.efi");
  EXPECT_EQ(settings.boot[2].architecture, std::nullopt);
  EXPECT_EQ(settings.boot[2].file, "boot.0");
  EXPECT_FALSE(settings.boot[1].for_ipxe || settings.boot[2].for_ipxe);
  EXPECT_EQ(settings.identity, dhcp::Identity::Port);
  EXPECT_FALSE(settings.check_before_offer);
  ASSERT_EQ(settings.options.size(), 2u);
  EXPECT_EQ(settings.options[0].code, 252);
  EXPECT_EQ(settings.options[0].value.size(), 12u);
  EXPECT_EQ(settings.options[1].value, (dhcp::Bytes{std::byte{0x0a}, std::byte{0x0b}}));
  ASSERT_EQ(settings.reservations.size(), 1u);
  EXPECT_EQ(settings.reservations[0].hostname, "web1");
  EXPECT_EQ(settings.mtu, 1400);
  EXPECT_TRUE(settings.offer_router);
}

TEST(DhcpSettings, LimitsAreThoseOfAVmOrOfASegmentUnlessGiven) {
  const config::VmPort vm{.name = "vm1", .vhost_user = "/run/vm1.sock"},
      segment{.name = "lab", .device = "eth1"};
  const config::Dhcp plain = *network_with("nat", "").dhcp;
  EXPECT_EQ(dhcp_limits(plain, vm).leases, 16u);
  EXPECT_EQ(dhcp_limits(plain, vm).messages_per_second, 100u);
  EXPECT_EQ(dhcp_limits(plain, {.name = "r", .vhost_user = "/r", .relay = true}).leases, 0u);
  EXPECT_EQ(dhcp_limits(plain, segment).leases, 0u);
  EXPECT_EQ(dhcp_limits(plain, segment).messages_per_second, 1000u);
  const config::Dhcp given =
      *network_with("nat", "limits: {leases_per_port: 3, messages_per_second: 0}").dhcp;
  EXPECT_EQ(dhcp_limits(given, vm).leases, 3u);
  EXPECT_EQ(dhcp_limits(given, segment).leases, 3u);
  EXPECT_EQ(dhcp_limits(given, segment).messages_per_second, 0u);
}

TEST(DhcpSettings, ThePortsArriveWithTheMacsThatAreTheirs) {
  config::Network network = network_with("nat", "dns: []");
  network.ports = {{.name = "vm1", .vhost_user = "/1", .mac = net::MacAddr{{2, 0, 0, 0, 0, 1}}},
                   {.name = "vm2", .vhost_user = "/2"}};
  const auto settings = dhcp_settings(network);
  ASSERT_EQ(settings.ports.size(), 2u);
  EXPECT_EQ(settings.ports[0].name, "vm1");
  EXPECT_EQ(settings.ports[0].mac, network.ports[0].mac);
  EXPECT_EQ(settings.ports[1].mac, std::nullopt);
}

TEST(DhcpSettings, AnIsolatedNetworkOffersNoRouter) {
  EXPECT_FALSE(dhcp_settings(network_with("none", "dns: []")).offer_router);
}

}  // namespace
}  // namespace vmnat::control
