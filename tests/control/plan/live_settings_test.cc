// SPDX-License-Identifier: Apache-2.0
// What a reload may change, as workers get it.
#include "control/plan/live_settings.h"

#include <gtest/gtest.h>

#include "control/plan/initial_state.h"
#include "tests/control/plan/configured.h"

namespace vmnat::control {
namespace {

TEST(LiveSettings, TheSegmentSizeIsWhatTheFileSaysElseWhatTheSmallerMtuLeaves) {
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

}  // namespace
}  // namespace vmnat::control
