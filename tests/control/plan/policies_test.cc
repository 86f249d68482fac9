// SPDX-License-Identifier: Apache-2.0
// NAT policies of a configuration.
#include "control/plan/policies.h"

#include <gtest/gtest.h>

#include "control/plan/initial_state.h"
#include "tests/control/plan/configured.h"

namespace vmnat::control {
namespace {

TEST(Policies, PoliciesSayWhatTheFileSays) {
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
  const auto lists = plan_address_lists(config, *external);
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
  EXPECT_EQ(policies[0].addresses, lists[0]);
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

}  // namespace
}  // namespace vmnat::control
