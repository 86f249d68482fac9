// SPDX-License-Identifier: Apache-2.0
// From a configuration to port numbers, MAC addresses, external addresses and policies.
#include "control/plan/topology.h"

#include <gtest/gtest.h>

#include "control/config/load.h"

namespace vmnat::control {
namespace {

config::Config configured(const std::string& networks) {
  const auto loaded = config::load_config_text(
      "uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1, mtu: 1400}\nnetworks:\n" +
          networks,
      "test.yaml");
  if (loaded) return *loaded;
  throw std::runtime_error(to_string(loaded.error().front()));
}

const std::string kTwoNetworks =
    "  - {name: red, address: 192.168.122.1/24, dhcp: {},\n"
    "     ports: [{name: vm1, device: veth1}, {name: vm2, device: veth2}]}\n"
    "  - {name: blue, address: 192.168.5.1/24, forward: none, mac: 52:54:00:00:02:01,\n"
    "     ports: [{name: vm3, device: veth3}]}\n";

TEST(Topology, NumbersTheUplinkFirstAndThenPortsInTheOrderOfTheFile) {
  const auto config = configured(kTwoNetworks);
  const auto ports = plan_ports(config, 2);
  ASSERT_EQ(ports.size(), 4u);
  EXPECT_EQ(ports[0].name, "uplink");
  EXPECT_EQ(ports[0].network, dataplane::kNoNetwork);
  EXPECT_EQ(ports[0].config, nullptr);
  for (std::size_t i = 1; i < ports.size(); ++i) EXPECT_EQ(ports[i].name, "vm" + std::to_string(i));
  EXPECT_EQ(ports[2].network, 0);
  EXPECT_EQ(ports[3].network, 1);
  EXPECT_EQ(ports[3].config, &config.networks[1].ports[0]);
}

TEST(Topology, SpreadsPortsOverTheWorkersAndGivesTheUplinkToTheFirst) {
  const auto config = configured(kTwoNetworks);
  const auto owners = [&](unsigned workers) {
    std::vector<unsigned> list;
    for (const auto& port : plan_ports(config, workers)) list.push_back(port.owner);
    return list;
  };
  EXPECT_EQ(owners(1), (std::vector<unsigned>{0, 0, 0, 0}));
  EXPECT_EQ(owners(2), (std::vector<unsigned>{0, 1, 0, 1}));
  EXPECT_EQ(owners(3), (std::vector<unsigned>{0, 1, 2, 0}));
}

TEST(Topology, TheGatewaysMacIsTheConfiguredOneOrAlwaysTheSameForAName) {
  const auto config = configured(kTwoNetworks);
  EXPECT_EQ(net::to_string(gateway_mac(config.networks[1])), "52:54:00:00:02:01");
  const net::MacAddr red = gateway_mac(config.networks[0]);
  EXPECT_EQ(net::to_string(red), "52:54:00:f4:80:dc")
      << "guests have it in their ARP caches: never change it";
  config::Network other = config.networks[0];
  other.name = "green";
  EXPECT_NE(gateway_mac(other), red);
  other.name = "red";
  other.address = config.networks[1].address;
  EXPECT_EQ(gateway_mac(other), red) << "the name alone decides";
}

TEST(Topology, OneExternalAddressForNetworksThatShareItWithThePortsThatBothAllow) {
  const auto config = configured(
      "  - {name: a, address: 10.1.0.1/24, nat: {ports: 2000-50000, reserved_ports: [3000, 4000-4001]}}\n"
      "  - {name: b, address: 10.2.0.1/24, nat: {ports: 1024-40000, reserved_ports: [4001, 5000]}}\n"
      "  - {name: c, address: 10.3.0.1/24, nat: {addresses: [203.0.113.9, 203.0.113.2]}}\n"
      "  - {name: d, address: 10.4.0.1/24, forward: none}\n");
  const auto external = plan_external_addresses(config);
  ASSERT_EQ(external.size(), 2u);
  EXPECT_EQ(net::to_string(external[0].address), "203.0.113.2");
  EXPECT_EQ(external[0].first_port, 2000);
  EXPECT_EQ(external[0].last_port, 40000);
  EXPECT_EQ(external[0].reserved, (std::vector<std::uint16_t>{3000, 4000, 4001, 5000}));
  EXPECT_EQ(net::to_string(external[1].address), "203.0.113.9");
  EXPECT_EQ(external[1].first_port, 1024);
  EXPECT_EQ(external[1].last_port, 65535);
  const AddressLists expected{{0}, {0}, {1, 0}, {}};
  EXPECT_EQ(plan_address_lists(config, external), expected);
}

TEST(Topology, ThereIsAnExternalAddressEvenWhenEveryNetworkIsIsolated) {
  const auto config = configured("  - {name: a, address: 10.1.0.1/24, forward: none}\n");
  const auto external = plan_external_addresses(config);
  ASSERT_EQ(external.size(), 1u);
  EXPECT_EQ(net::to_string(external[0].address), "203.0.113.2");
  EXPECT_EQ(plan_address_lists(config, external), AddressLists{{}});
}

TEST(Topology, AnAddressThatDhcpGivesIsRentedAndItsForwardsFollowIt) {
  const std::string text =
      "uplink: {device: eth0, address: dhcp}\n"
      "networks:\n"
      "  - {name: a, address: 10.1.0.1/24, nat: {ports: 2000-50000, forwards: [{protocol: tcp, port: 2080, "
      "to: "
      "10.1.0.5:80}]}}\n"
      "  - {name: b, address: 10.2.0.1/24, nat: {addresses: [203.0.113.9], forwards: [{protocol: tcp, port: "
      "2080, "
      "to: 10.2.0.5:80}]}}\n";
  const auto config = *config::load_config_text(text, "test.yaml");
  const auto external = plan_external_addresses(config);
  ASSERT_EQ(external.size(), 2u);
  EXPECT_TRUE(external[0].address.is_unspecified());
  EXPECT_EQ(external[0].first_port, 2000);
  EXPECT_EQ(external[0].reserved, std::vector<std::uint16_t>{2080});
  EXPECT_EQ(plan_address_lists(config, external), (AddressLists{{0}, {1}}));

  const auto rented = net::Ipv4Addr::of(203, 0, 113, 50);
  EXPECT_TRUE(plan_forwards(config)[0].external.address.is_unspecified());
  EXPECT_EQ(plan_forwards(config, rented)[0].external.address, rented);
  EXPECT_EQ(net::to_string(plan_forwards(config, rented)[1].external.address), "203.0.113.9");
  EXPECT_EQ(external_addresses_now(config.networks[0], {}), std::vector<net::Ipv4Addr>{});
  EXPECT_EQ(external_addresses_now(config.networks[0], rented), std::vector{rented});

  const auto state = initial_state(config, plan_ports(config, 1));
  EXPECT_FALSE(state.uplink.has_address());
  EXPECT_EQ(state.uplink.mtu, 0);
  EXPECT_EQ(state.forward_of({{}, net::L4Port::from_host(2080)}, net::Protocol::Tcp), nullptr);
  EXPECT_FALSE(state.static_mapping_of(config.networks[0].nat.forwards[0].to, net::Protocol::Tcp));
}

// RFC 4787 REQ-1 and REQ-2: one external endpoint for each internal one.
TEST(Topology, OfTheForwardsToOneEndpointTheFirstIsItsMappingAtTheAddressThatItIsPairedWith) {
  const auto config = configured(
      "  - {name: a, address: 10.1.0.1/24, nat: {addresses: [203.0.113.8-203.0.113.15], forwards: [\n"
      "     {protocol: udp, port: 123, to: 10.1.0.5:123}, {protocol: udp, port: 1123, to: 10.1.0.5:123},\n"
      "     {protocol: tcp, port: 80, to: 10.1.0.5:123},\n"
      "     {protocol: udp, port: 53, address: 203.0.113.9, to: 10.1.0.6:53},\n"
      "     {protocol: udp, port: 53, address: 203.0.113.10, to: 10.1.0.6:53}]}}\n");
  const auto state = initial_state(config, plan_ports(config, 1));
  const auto mapping = [&](const char* internal, unsigned port, net::Protocol protocol) {
    const auto number = net::L4Port::from_host(static_cast<std::uint16_t>(port));
    const auto found = state.static_mapping_of({*net::parse_ipv4(internal), number}, protocol);
    return found ? net::to_string(*found) : "none";
  };
  const auto paired = net::Ipv4Addr::from_host(
      net::Ipv4Addr::of(203, 0, 113, 8).host() +
      static_cast<std::uint32_t>(conntrack::Conntrack::paired(net::Ipv4Addr::of(10, 1, 0, 5), 8)));
  EXPECT_EQ(mapping("10.1.0.5", 123, net::Protocol::Udp), net::to_string(paired) + ":123");
  EXPECT_EQ(mapping("10.1.0.5", 123, net::Protocol::Tcp), net::to_string(paired) + ":80");
  EXPECT_EQ(mapping("10.1.0.6", 53, net::Protocol::Udp), "203.0.113.9:53");
  EXPECT_EQ(mapping("10.1.0.5", 80, net::Protocol::Udp), "none");
}

TEST(Topology, TheSegmentSizeIsWhatTheFileSaysElseWhatTheSmallerMtuLeaves) {
  const auto config = configured(
      "  - {name: a, address: 10.1.0.1/24}\n"
      "  - {name: b, address: 10.2.0.1/24, mtu: 1300}\n"
      "  - {name: c, address: 10.3.0.1/24, mtu: 9000}\n"
      "  - {name: d, address: 10.4.0.1/24, nat: {mss_clamp: off}}\n"
      "  - {name: e, address: 10.5.0.1/24, nat: {mss_clamp: 1200, exhaustion_icmp: host-unreachable}}\n"
      "  - {name: f, address: 10.6.0.1/24, mtu: 68, nat: {exhaustion_icmp: off}}\n");
  const auto state = initial_state(config, plan_ports(config, 1));
  const std::uint16_t expected[] = {1360, 1260, 1360, 0, 1200, 28};
  for (std::size_t i = 0; i < std::size(expected); ++i)
    EXPECT_EQ(state.networks[i].most_mss, expected[i]) << i;
  EXPECT_EQ(state.networks[4].exhaustion_answer, dataplane::ExhaustionAnswer::HostUnreachable);
  EXPECT_EQ(state.networks[5].exhaustion_answer, dataplane::ExhaustionAnswer::Nothing);
}

TEST(Topology, PoliciesSayWhatTheFileSays) {
  const auto config = configured(
      "  - {name: a, address: 10.1.0.1/24}\n"
      "  - name: b\n"
      "    address: 10.2.0.1/24\n"
      "    nat:\n"
      "      mapping: endpoint-dependent\n"
      "      overload: false\n"
      "      tcp_mid_stream: pick-up\n"
      "      timeouts: {tcp_established: 3h, tcp_transitory: 5m, udp: 6m, udp_answered: 40s, icmp: 70s, "
      "other: 11m}\n"
      "      limits: {sessions_per_port: 100, new_sessions_per_second: 10}\n");
  const auto external = plan_external_addresses(config);
  const auto lists = plan_address_lists(config, external);
  const auto policies = plan_policies(config, lists);
  ASSERT_EQ(policies.size(), 2u);
  const conntrack::NatPolicy usual;
  EXPECT_EQ(policies[0].mapping, conntrack::Mapping::EndpointIndependent);
  EXPECT_EQ(policies[0].filtering, conntrack::Filtering::AddressAndPortDependent);
  EXPECT_TRUE(policies[0].overload);
  EXPECT_EQ(policies[0].timeouts.tcp_established, usual.timeouts.tcp_established);
  EXPECT_EQ(policies[0].timeouts.udp, usual.timeouts.udp);
  EXPECT_EQ(policies[0].timeouts.udp_answered, usual.timeouts.udp_answered);
  EXPECT_EQ(policies[0].sessions_per_port, 0u);
  EXPECT_EQ(policies[0].addresses.data(), lists[0].data()) << "the lists back the policies' spans";
  EXPECT_EQ(policies[1].mapping, conntrack::Mapping::EndpointDependent);
  EXPECT_FALSE(policies[1].overload);
  EXPECT_EQ(policies[1].timeouts.tcp_established, std::chrono::hours(3));
  EXPECT_EQ(policies[1].timeouts.tcp_transitory, std::chrono::minutes(5));
  EXPECT_EQ(policies[1].timeouts.udp, std::chrono::minutes(6));
  EXPECT_EQ(policies[1].timeouts.udp_answered, std::chrono::seconds(40));
  EXPECT_EQ(policies[1].timeouts.icmp, std::chrono::seconds(70));
  EXPECT_EQ(policies[1].timeouts.other, std::chrono::minutes(11));
  EXPECT_EQ(policies[0].mid_stream, conntrack::MidStream::Refuse);
  EXPECT_EQ(policies[1].mid_stream, conntrack::MidStream::PickUp);
  const auto state = initial_state(config, plan_ports(config, 1));
  EXPECT_TRUE(state.networks[0].resets_mid_stream);
  EXPECT_FALSE(state.networks[1].resets_mid_stream);
  EXPECT_EQ(policies[1].sessions_per_port, 100u);
  EXPECT_EQ(policies[1].new_sessions_per_second, 10u);
}

TEST(Topology, TheFirstStateHoldsPortsDownAndNetworksAsConfigured) {
  const auto config = configured(kTwoNetworks);
  const auto state = initial_state(config, plan_ports(config, 1));
  EXPECT_EQ(net::to_string(state.uplink.address), "203.0.113.2/24");
  EXPECT_EQ(net::to_string(state.uplink.gateway), "203.0.113.1");
  EXPECT_EQ(state.uplink.mtu, 1400);
  EXPECT_TRUE(state.uplink.gateway_mac.is_zero());
  ASSERT_EQ(state.networks.size(), 2u);
  EXPECT_TRUE(state.networks[0].nat);
  EXPECT_TRUE(state.networks[0].dhcp);
  EXPECT_EQ(state.networks[0].ports, (std::vector<PortIndex>{1, 2}));
  EXPECT_FALSE(state.networks[1].nat);
  EXPECT_FALSE(state.networks[1].dhcp);
  EXPECT_FALSE(state.networks[0].isolated_ports);
  EXPECT_EQ(state.networks[0].most_mss, 1360) << "the uplink's MTU less 40";
  EXPECT_EQ(state.networks[0].exhaustion_answer, dataplane::ExhaustionAnswer::Prohibited);
  EXPECT_EQ(state.networks[1].ports, std::vector<PortIndex>{3});
  ASSERT_EQ(state.ports.size(), 4u);
  for (const auto& port : state.ports) EXPECT_FALSE(port.up);
}

}  // namespace
}  // namespace vmnat::control
