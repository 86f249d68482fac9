// SPDX-License-Identifier: Apache-2.0
#include "control/observe/observers.h"

#include <gtest/gtest.h>

#include "control/observe/record_reader.h"

namespace vmnat::control {
namespace {

using dataplane::Observation;
using dataplane::Record;
using dataplane::Sight;

constexpr std::size_t kRing = 0;  // the least

struct ObserversTest : testing::Test {
  StatePublisher states{dataplane::ForwardingState{}};
  Observers observers{states, 2};

  std::unique_ptr<Observer> added() {
    auto observer = observers.add(Observation{}, kRing);
    EXPECT_TRUE(observer);
    return observer ? *std::move(observer) : nullptr;
  }
};

TEST_F(ObserversTest, EachComesAndGoesWithAState) {
  EXPECT_EQ(states.current().watches, nullptr);
  auto first = added();
  const auto watches = states.current().watches;
  ASSERT_NE(watches, nullptr);
  EXPECT_EQ(watches->of_workers.size(), 2u);
  auto second = added();
  EXPECT_NE(states.current().watches, watches);
  first.reset();
  EXPECT_NE(states.current().watches, nullptr);
  second.reset();
  EXPECT_EQ(states.current().watches, nullptr);
}

TEST_F(ObserversTest, ThereAreFourAtMost) {
  std::vector<std::unique_ptr<Observer>> all;
  for (int i = 0; i < 4; ++i) all.push_back(added());
  const auto refused = observers.add(Observation{}, kRing);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().what,
            "4 captures and traces are under way, and there may be no more: end one first");
  all.pop_back();
  EXPECT_NE(added(), nullptr);
}

TEST_F(ObserversTest, RingsAreFreedWithTheLastStateThatHasThem) {
  auto observer = added();
  const std::weak_ptr<dataplane::Watches> watches = states.current().watches;
  observer.reset();
  EXPECT_FALSE(watches.expired());
  states.reclaim(states.current().generation);
  EXPECT_TRUE(watches.expired());
}

TEST_F(ObserversTest, WhatWasMissedIsRememberedWhenTheyHaveGone) {
  auto observer = added();
  while (observer->observation().rings[1]->add(200'000, 7) != nullptr) continue;
  EXPECT_EQ(observer->missed(7), 1u);
  EXPECT_EQ(observers.missed(), 1u);
  observer.reset();
  EXPECT_EQ(observers.missed(), 1u);
}

TEST_F(ObserversTest, RecordsOfAllWorkersAreReadInTheOrderOfTheirTime) {
  const auto observer = added();
  for (const unsigned worker : {0u, 1u}) {
    for (const std::uint64_t tsc : {10u + worker, 20u + worker, 30u + worker}) {
      Record* record = observer->observation().rings[worker]->add(4, 0);
      record->tsc = tsc;
      if (tsc != 20) record->sight = Sight::Received;  // what is of nothing is passed over
    }
    observer->observation().rings[worker]->publish();
  }
  RecordReader reader(observer->observation());
  std::vector<std::uint64_t> times;
  while (const Record* record = reader.next()) times.push_back(record->tsc);
  EXPECT_EQ(times, (std::vector<std::uint64_t>{10, 11, 21, 30, 31}));
  EXPECT_EQ(reader.next(), nullptr);
}

}  // namespace
}  // namespace vmnat::control
