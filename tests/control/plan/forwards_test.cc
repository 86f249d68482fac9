// SPDX-License-Identifier: Apache-2.0
// Port forwards: where they stand, and which of them is the mapping of an endpoint.
#include "control/plan/forwards.h"

#include <gtest/gtest.h>
#include <map>

#include "control/plan/external_addresses.h"
#include "control/plan/initial_state.h"
#include "tests/control/plan/configured.h"

namespace vmnat::control {
namespace {

const auto kRemote = net::Ipv4Addr::of(198, 51, 100, 7);

TEST(ForwardPlan, AnAddressThatDhcpGivesIsRentedAndItsForwardsFollowIt) {
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
  ASSERT_EQ(external->size(), 2u);
  EXPECT_TRUE(external->address(0).is_unspecified());
  EXPECT_EQ(*external->ports(0), conntrack::AllowedPorts(2000, 50000, std::vector<std::uint16_t>{2080}));
  EXPECT_EQ(plan_address_lists(config, *external), (AddressLists{{0}, {1}}));
  EXPECT_EQ(
      with_rented(external, net::Ipv4Addr::of(203, 0, 113, 50))->index_of(net::Ipv4Addr::of(203, 0, 113, 50)),
      0);
  EXPECT_EQ(with_rented(external, {}), external);

  const auto rented = net::Ipv4Addr::of(203, 0, 113, 50);
  EXPECT_TRUE(plan_forwards(config)[0].external.address.is_unspecified());
  EXPECT_EQ(plan_forwards(config, rented)[0].external.address, rented);
  EXPECT_EQ(net::to_string(plan_forwards(config, rented)[1].external.address), "203.0.113.9");
  EXPECT_EQ(external_addresses_now(config.networks[0], {}), std::vector<net::Ipv4Addr>{});
  EXPECT_EQ(external_addresses_now(config.networks[0], rented), std::vector{rented});

  const auto state = initial_state(config, plan_ports(config, 1));
  EXPECT_FALSE(state.uplinks[0].has_address());
  EXPECT_EQ(state.uplinks[0].mtu, 0);
  EXPECT_FALSE(state.forward_of({{}, net::L4Port::from_host(2080)}, net::Protocol::Tcp, kRemote));
  EXPECT_FALSE(
      state.static_mapping_of(config.networks[0].nat.forwards[0].to.front(), net::Protocol::Tcp, kRemote));
}

// RFC 4787 REQ-1 and REQ-2: one external endpoint for each internal one.
TEST(ForwardPlan, OfTheForwardsToOneEndpointTheFirstIsItsMappingAtTheAddressThatItIsPairedWith) {
  const auto config = configured(
      "  - {name: a, address: 10.1.0.1/24, nat: {addresses: [203.0.113.8-203.0.113.15], forwards: [\n"
      "     {protocol: udp, port: 123, to: 10.1.0.5:123}, {protocol: udp, port: 1123, to: 10.1.0.5:123},\n"
      "     {protocol: tcp, port: 80, to: 10.1.0.5:123},\n"
      "     {protocol: udp, port: 53, address: 203.0.113.9, to: 10.1.0.6:53},\n"
      "     {protocol: udp, port: 53, address: 203.0.113.10, to: 10.1.0.6:53}]}}\n");
  const auto state = initial_state(config, plan_ports(config, 1));
  const auto mapping = [&](const char* internal, unsigned port, net::Protocol protocol) {
    const auto number = net::L4Port::from_host(static_cast<std::uint16_t>(port));
    const auto found = state.static_mapping_of({*net::parse_ipv4(internal), number}, protocol, kRemote);
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

net::Endpoint at(const char* address, unsigned port) {
  return {*net::parse_ipv4(address), net::L4Port::from_host(static_cast<std::uint16_t>(port))};
}

dataplane::ForwardingState state_of(const std::string& forwards) {
  const auto config =
      configured("  - {name: a, address: 10.1.0.1/24, nat: {forwards: [" + forwards + "]}}\n");
  return initial_state(config, plan_ports(config, 1));
}

TEST(ForwardPlan, ARangeOfPortsLeadsPortByPortAndIsReserved) {
  const std::string range = "{protocol: tcp, port: 8000-8099, to: 10.1.0.5:80}";
  const auto state = state_of(range);
  for (unsigned port = 0; port < 100; ++port) {
    const auto forward = state.forward_of(at("203.0.113.2", 8000 + port), net::Protocol::Tcp, kRemote);
    ASSERT_TRUE(forward);
    EXPECT_EQ(forward->to, at("10.1.0.5", 80 + port));
    EXPECT_EQ(state.static_mapping_of(at("10.1.0.5", 80 + port), net::Protocol::Tcp, kRemote),
              at("203.0.113.2", 8000 + port));
  }
  for (const unsigned port : {7999u, 8100u})
    EXPECT_FALSE(state.forward_of(at("203.0.113.2", port), net::Protocol::Tcp, kRemote));
  EXPECT_FALSE(state.forward_of(at("203.0.113.2", 8000), net::Protocol::Udp, kRemote));
  const auto external = plan_external_addresses(
      configured("  - {name: a, address: 10.1.0.1/24, nat: {forwards: [" + range + "]}}\n"));
  for (const unsigned port : {8000u, 8050u, 8099u})
    EXPECT_FALSE(external->is_allowed(0, net::L4Port::from_host(static_cast<std::uint16_t>(port))));
  EXPECT_TRUE(external->is_allowed(0, net::L4Port::from_host(8100)));
}

TEST(ForwardPlan, OfSeveralForwardsOfAPortTheOneForFewestRemotesServes) {
  const auto state = state_of(
      "{protocol: tcp, port: 22, from: 198.51.100.0/24, to: 10.1.0.5:22}, {protocol: tcp, port: 22, from: "
      "198.51.100.7, to: 10.1.0.6:22}, {protocol: tcp, port: 22, from: 198.51.0.0/16, to: 10.1.0.7:22}");
  const auto leads = [&](const char* remote) {
    const auto forward =
        state.forward_of(at("203.0.113.2", 22), net::Protocol::Tcp, *net::parse_ipv4(remote));
    return forward ? net::to_string(forward->to.address) : "nowhere";
  };
  EXPECT_EQ(leads("198.51.100.7"), "10.1.0.6");
  EXPECT_EQ(leads("198.51.100.8"), "10.1.0.5");
  EXPECT_EQ(leads("198.51.9.9"), "10.1.0.7");
  EXPECT_EQ(leads("203.0.113.9"), "nowhere");
  const auto leaves = [&](const char* vm, const char* remote) {
    return state.static_mapping_of(at(vm, 22), net::Protocol::Tcp, *net::parse_ipv4(remote)).has_value();
  };
  EXPECT_TRUE(leaves("10.1.0.5", "198.51.100.8"));
  EXPECT_FALSE(leaves("10.1.0.5", "198.51.100.7")) << "that remote reaches another VM there";
  EXPECT_FALSE(leaves("10.1.0.5", "192.0.2.1"));
}

TEST(ForwardPlan, SeveralVmsShareTheRemotesEvenlyAndOneThatComesOrGoesMovesNoneOfTheOthers) {
  const auto to = [](const std::string& servers) {
    return state_of("{protocol: tcp, port: 80, to: [" + servers + "]}");
  };
  const auto three = to("'10.1.0.5:80', '10.1.0.6:80', '10.1.0.7:81'"),
             two = to("'10.1.0.7:81', '10.1.0.5:80'");
  std::map<net::Endpoint, unsigned> served;
  for (std::uint32_t i = 0; i < 3000; ++i) {
    const auto remote = net::Ipv4Addr::from_host(net::Ipv4Addr::of(198, 18, 0, 0).host() + i);
    const auto of_three = three.forward_of(at("203.0.113.2", 80), net::Protocol::Tcp, remote)->to;
    const auto of_two = two.forward_of(at("203.0.113.2", 80), net::Protocol::Tcp, remote)->to;
    ++served[of_three];
    if (of_three != at("10.1.0.6", 80)) {
      EXPECT_EQ(of_two, of_three);
    }
    EXPECT_EQ(three.static_mapping_of(of_three, net::Protocol::Tcp, remote), at("203.0.113.2", 80));
    const auto other = of_three == at("10.1.0.5", 80) ? at("10.1.0.6", 80) : at("10.1.0.5", 80);
    EXPECT_FALSE(three.static_mapping_of(other, net::Protocol::Tcp, remote));
  }
  ASSERT_EQ(served.size(), 3u);
  for (const auto& [server, remotes] : served) {
    EXPECT_GT(remotes, 900u) << net::to_string(server);
    EXPECT_LT(remotes, 1100u) << net::to_string(server);
  }
}

TEST(ForwardPlan, OfADrainingAddressNothingOpensAndTheNextOneIsTheMapping) {
  const std::string forwards = "forwards: [{protocol: udp, port: 123, to: 10.1.0.5:123}]";
  const auto paired = conntrack::Conntrack::paired(net::Ipv4Addr::of(10, 1, 0, 5), 2);
  const auto address = [](std::size_t i) {
    return net::Ipv4Addr::of(203, 0, 113, static_cast<std::uint8_t>(8 + i));
  };
  const auto config = configured(
      "  - {name: a, address: 10.1.0.1/24, nat: {addresses: "
      "[203.0.113.8-203.0.113.9], drain: [" +
      net::to_string(address(paired)) + "], " + forwards + "}}\n");
  for (const ForwardPlan& forward : plan_forwards(config)) {
    EXPECT_EQ(forward.is_draining, forward.external.address == address(paired));
    EXPECT_EQ(forward.is_mapping, forward.external.address == address(1 - paired));
  }
}

}  // namespace
}  // namespace vmnat::control
