// SPDX-License-Identifier: Apache-2.0
#include "control/gateway/state_publisher.h"

#include <array>
#include <gtest/gtest.h>
#include <sys/eventfd.h>

namespace vmnat::control {
namespace {

dataplane::ForwardingState with_mtu(std::uint16_t mtu) {
  dataplane::ForwardingState state;
  state.uplinks[0].mtu = mtu;
  return state;
}

TEST(StatePublisher, PublishesEachStateWithTheNextGeneration) {
  StatePublisher states(with_mtu(1));
  EXPECT_EQ(states.published().load()->generation, 1u);
  states.publish(with_mtu(2));
  EXPECT_EQ(states.published().load(), &states.current());
  EXPECT_EQ(states.current().generation, 2u);
  EXPECT_EQ(states.current().uplinks[0].mtu, 2);
}

TEST(StatePublisher, WakesWhoSleeps) {
  std::array<dataplane::Doorbell, 2> doorbells;
  StatePublisher states(with_mtu(1), doorbells);
  for (dataplane::Doorbell& doorbell : doorbells) doorbell.listen();
  states.publish(with_mtu(2));
  for (const dataplane::Doorbell& doorbell : doorbells) {
    eventfd_t rings = 0;
    EXPECT_EQ(eventfd_read(doorbell.descriptor(), &rings), 0);
    EXPECT_EQ(rings, 1u);
  }
}

TEST(StatePublisher, KeepsWhatTheSlowestWorkerMayStillUse) {
  StatePublisher states(with_mtu(1));
  const auto* first = states.published().load();
  states.publish(with_mtu(2));
  states.publish(with_mtu(3));
  states.reclaim(0);
  EXPECT_EQ(states.held(), 3u) << "a worker that has not finished a poll yet may hold any";
  states.reclaim(1);
  EXPECT_EQ(states.held(), 3u) << "its next poll may have begun with generation 1";
  EXPECT_EQ(first->uplinks[0].mtu, 1);
  states.reclaim(2);
  EXPECT_EQ(states.held(), 2u);
  states.reclaim(3);
  EXPECT_EQ(states.held(), 1u);
}

TEST(StatePublisher, NeverFreesTheCurrentState) {
  StatePublisher states(with_mtu(1));
  states.reclaim(UINT64_MAX);
  EXPECT_EQ(states.held(), 1u);
  EXPECT_EQ(states.current().uplinks[0].mtu, 1);
}

TEST(StatePublisher, PoliciesLiveAsLongAsTheLastStateThatHasThem) {
  const auto policies = std::make_shared<const conntrack::NatPolicies>(2);
  auto first = with_mtu(1);
  first.policies = policies;
  StatePublisher states(std::move(first));
  auto second = states.current();
  states.publish(std::move(second));
  auto third = states.current();
  third.policies = std::make_shared<const conntrack::NatPolicies>(2);
  states.publish(std::move(third));
  states.reclaim(2);
  EXPECT_EQ(policies.use_count(), 2) << "ours and the second state's";
  states.reclaim(3);
  EXPECT_EQ(policies.use_count(), 1);
}

}  // namespace
}  // namespace vmnat::control
