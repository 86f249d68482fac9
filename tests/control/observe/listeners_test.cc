// SPDX-License-Identifier: Apache-2.0
#include "control/observe/listeners.h"

#include <gtest/gtest.h>

namespace vmnat::control {
namespace {

using conntrack::EventKind;
using conntrack::SessionEvent;

struct ListenersTest : testing::Test {
  StatePublisher states{dataplane::ForwardingState{}};
  Listeners listeners{states, 2};

  std::unique_ptr<Listener> added(std::size_t events = 4) {
    auto listener = listeners.add(Listeners::About::Sessions, events);
    EXPECT_TRUE(listener);
    return listener ? *std::move(listener) : nullptr;
  }
  void tell(unsigned worker, EventKind kind = EventKind::Opened) {
    for (const auto& ring : (*states.current().listeners)[worker]) ring->add({.kind = kind});
  }
};

TEST_F(ListenersTest, EachComesAndGoesWithAState) {
  EXPECT_EQ(states.current().listeners, nullptr);
  auto first = added();
  ASSERT_NE(states.current().listeners, nullptr);
  EXPECT_EQ(states.current().listeners->size(), 2u);
  auto second = added();
  EXPECT_EQ((*states.current().listeners)[1].size(), 2u);
  first.reset();
  EXPECT_EQ((*states.current().listeners)[1].size(), 1u);
  second.reset();
  EXPECT_EQ(states.current().listeners, nullptr);
}

TEST_F(ListenersTest, EventsOfAllWorkersAreTaken) {
  auto listener = added();
  tell(0);
  tell(1, EventKind::Ended);
  tell(1, EventKind::Ended);
  SessionEvent event;
  unsigned opened = 0, ended = 0;
  while (listener->take(event)) ++(event.kind == EventKind::Opened ? opened : ended);
  EXPECT_EQ(opened, 1u);
  EXPECT_EQ(ended, 2u);
}

TEST_F(ListenersTest, WhatWasMissedIsRememberedWhenTheyHaveGone) {
  auto listener = added(4);
  for (int i = 0; i < 6; ++i) tell(1);
  EXPECT_EQ(listener->missed(), 2u);
  EXPECT_EQ(listeners.missed(), 2u);
  listener.reset();
  EXPECT_EQ(listeners.missed(), 2u);
}

TEST_F(ListenersTest, ThereAreEightAtMost) {
  std::vector<std::unique_ptr<Listener>> all;
  for (std::size_t i = 0; i < Listeners::kMost; ++i) all.push_back(added());
  const auto refused = listeners.add(Listeners::About::Sessions, 4);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().what, "8 listen to sessions, and there may be no more: end one first");
  all.pop_back();
  EXPECT_NE(added(), nullptr);
}

}  // namespace
}  // namespace vmnat::control
