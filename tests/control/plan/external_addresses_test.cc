// SPDX-License-Identifier: Apache-2.0
// The external addresses of a configuration, and the ports that may be allocated on each.
#include "control/plan/external_addresses.h"

#include <gtest/gtest.h>

#include "tests/control/plan/configured.h"

namespace vmnat::control {
namespace {

TEST(ExternalAddresses, OneExternalAddressForNetworksThatShareItWithThePortsThatBothAllow) {
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

TEST(ExternalAddresses, ThereIsAnExternalAddressEvenWhenEveryNetworkIsIsolated) {
  const auto config = configured("  - {name: a, address: 10.1.0.1/24, forward: none}\n");
  const auto external = plan_external_addresses(config);
  ASSERT_EQ(external.size(), 1u);
  EXPECT_EQ(net::to_string(external[0].address), "203.0.113.2");
  EXPECT_EQ(plan_address_lists(config, external), AddressLists{{}});
}

}  // namespace
}  // namespace vmnat::control
