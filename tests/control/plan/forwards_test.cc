// SPDX-License-Identifier: Apache-2.0
// Port forwards: where they stand, and which of them is the mapping of an endpoint.
#include "control/plan/forwards.h"

#include <gtest/gtest.h>

#include "control/plan/external_addresses.h"
#include "control/plan/initial_state.h"
#include "tests/control/plan/configured.h"

namespace vmnat::control {
namespace {

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
  EXPECT_FALSE(state.uplink.has_address());
  EXPECT_EQ(state.uplink.mtu, 0);
  EXPECT_EQ(state.forward_of({{}, net::L4Port::from_host(2080)}, net::Protocol::Tcp), nullptr);
  EXPECT_FALSE(state.static_mapping_of(config.networks[0].nat.forwards[0].to, net::Protocol::Tcp));
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
