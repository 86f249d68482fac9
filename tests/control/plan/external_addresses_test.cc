// SPDX-License-Identifier: Apache-2.0
// The external addresses of a configuration, the ports that may be allocated on each, and their indices from
// one configuration to the next.
#include "control/plan/external_addresses.h"

#include <gtest/gtest.h>

#include "tests/control/plan/configured.h"

namespace vmnat::control {
namespace {

using conntrack::AllowedPorts;

net::Ipv4Addr pool(unsigned last) {
  return net::Ipv4Addr::of(203, 0, 113, static_cast<std::uint8_t>(last));
}
config::Config with_pool(const std::string& nat) {
  return configured("  - {name: a, address: 10.1.0.1/24, nat: {" + nat + "}}\n");
}
std::optional<conntrack::ExternalIndex> index_of(const ExternalTable& table, unsigned last) {
  return table->index_of(pool(last));
}

TEST(ExternalAddressPlan, OneExternalAddressForNetworksThatShareItWithThePortsThatBothAllow) {
  const auto config = configured(
      "  - {name: a, address: 10.1.0.1/24, nat: {ports: 2000-50000, reserved_ports: [3000, 4000-4001]}}\n"
      "  - {name: b, address: 10.2.0.1/24, nat: {ports: 1024-40000, reserved_ports: [4001, 5000]}}\n"
      "  - {name: c, address: 10.3.0.1/24, nat: {addresses: [203.0.113.9, 203.0.113.2]}}\n"
      "  - {name: d, address: 10.4.0.1/24, forward: none}\n");
  const auto external = plan_external_addresses(config);
  ASSERT_EQ(external->size(), 2u);
  EXPECT_EQ(external->address(0), pool(2));
  EXPECT_EQ(*external->ports(0),
            AllowedPorts(2000, 40000, std::vector<std::uint16_t>{3000, 4000, 4001, 5000}));
  EXPECT_EQ(external->address(1), pool(9));
  EXPECT_EQ(*external->ports(1), AllowedPorts(1024, 65535, {}));
  const AddressLists expected{{0}, {0}, {1, 0}, {}};
  EXPECT_EQ(plan_address_lists(config, *external), expected);
}

TEST(ExternalAddressPlan, ThereIsAnExternalAddressEvenWhenEveryNetworkIsIsolated) {
  const auto config = configured("  - {name: a, address: 10.1.0.1/24, forward: none}\n");
  const auto external = plan_external_addresses(config);
  ASSERT_EQ(external->size(), 1u);
  EXPECT_EQ(external->address(0), pool(2));
  EXPECT_EQ(external->ports(0)->block_count(), 0u);
  EXPECT_EQ(plan_address_lists(config, *external), AddressLists{{}});
}

TEST(ExternalAddressPlan, ForwardsReserveTheirPortWhereTheyListen) {
  const auto external = plan_external_addresses(with_pool(
      "addresses: [203.0.113.8-203.0.113.9], forwards: [{protocol: tcp, port: 2080, to: 10.1.0.5:80}, "
      "{protocol: udp, address: 203.0.113.9, port: 2090, to: 10.1.0.5:80}]"));
  EXPECT_EQ(*external->ports(*index_of(external, 8)),
            AllowedPorts(1024, 65535, std::vector<std::uint16_t>{2080}));
  EXPECT_EQ(*external->ports(*index_of(external, 9)),
            AllowedPorts(1024, 65535, std::vector<std::uint16_t>{2080, 2090}));
}

TEST(ExternalAddressPlan, WhatStaysKeepsItsIndexAndWhatComesGetsOneThatNobodyHad) {
  const auto first = plan_external_addresses(with_pool("addresses: [203.0.113.8-203.0.113.11]"));
  ASSERT_EQ(first->size(), 5u);
  const auto second =
      plan_external_addresses(with_pool("addresses: [203.0.113.11, 203.0.113.20, 203.0.113.9]"), first.get());
  for (const unsigned last : {2u, 9u, 11u}) EXPECT_EQ(index_of(second, last), index_of(first, last)) << last;
  EXPECT_EQ(index_of(second, 8), std::nullopt);
  EXPECT_EQ(index_of(second, 20), 5) << "those that go have theirs until they are gone";
  EXPECT_EQ(second->ports(*index_of(second, 9)), first->ports(*index_of(first, 9))) << "the same object";
  const auto third =
      plan_external_addresses(with_pool("addresses: [203.0.113.21, 203.0.113.20]"), second.get());
  EXPECT_EQ(index_of(third, 21), index_of(first, 8)) << "the lowest one that is free now";
  EXPECT_EQ(index_of(third, 20), 5);
}

TEST(ExternalAddressPlan, WhatAnyNetworkDrainsGivesNothingInAnyOther) {
  const auto config = configured(
      "  - {name: a, address: 10.1.0.1/24, nat: {addresses: [203.0.113.8-203.0.113.9], drain: "
      "[203.0.113.9]}}\n"
      "  - {name: b, address: 10.2.0.1/24, nat: {addresses: [203.0.113.9]}}\n");
  const auto external = plan_external_addresses(config);
  const auto index = *index_of(external, 9);
  EXPECT_TRUE(external->is_draining(index));
  EXPECT_EQ(external->ports(index)->block_count(), 0u);
  EXPECT_FALSE(external->is_draining(*index_of(external, 8)));
  EXPECT_EQ(plan_address_lists(config, *external)[1], std::vector{index}) << "it keeps its place";
}

TEST(ExternalAddressPlan, ThereIsRoomForFourTimesAsMany) {
  EXPECT_EQ(external_room(1), 512u);
  EXPECT_EQ(external_room(200), 1024u);
  EXPECT_EQ(external_room(4096), 4096u);
}

}  // namespace
}  // namespace vmnat::control
