// SPDX-License-Identifier: Apache-2.0
// What goes on of a process's counters, and that it adds up.
#include "control/image/totals.h"

#include <gtest/gtest.h>

namespace vmnat::control {
namespace {

using conntrack::Revival;
using conntrack::Revivals;

std::uint64_t count_of(const Totals& totals, const std::string& name) {
  const auto found = totals.counters.find(name);
  return found == totals.counters.end() ? 0 : found->second;
}

Revivals found(std::initializer_list<std::pair<Revival, std::uint32_t>> counts) {
  Revivals revivals{};
  for (const auto& [revival, count] : counts) revivals[static_cast<unsigned>(revival)] = count;
  return revivals;
}

TEST(Totals, AreTextThatIsCheckedWhenItIsRead) {
  const Totals totals{.counters = {{"received", UINT64_MAX}, {"drop.runt", 2}},
                      .columns = {"rx_packets", "drop.runt"},
                      .ports = {{"uplink", {5, 0}}, {"vm \"1\"", {1, 2}}}};
  EXPECT_EQ(totals_in(to_json(totals)), totals);
  EXPECT_EQ(totals_in(to_json(Totals{})), Totals{});
  for (const char* text :
       {"", "[]", "{}", R"({"counters":{},"columns":[]})", R"({"counters":[],"columns":[],"ports":{}})",
        R"({"counters":{"received":-1},"columns":[],"ports":{}})",
        R"({"counters":{"received":1.5},"columns":[],"ports":{}})",
        R"({"counters":{},"columns":{},"ports":{}})", R"({"counters":{},"columns":[7],"ports":{}})",
        R"({"counters":{},"columns":[],"ports":{"vm1":[1]}})",
        R"({"counters":{},"columns":["a"],"ports":{"vm1":["b"]}})",
        R"({"counters":{},"columns":["a"],"ports":{"vm1":7}})"})
    EXPECT_FALSE(totals_in(text)) << text;
}

TEST(Totals, FramesWhoseEndWasNotCountedAreDropped) {
  Totals totals{.counters = {{"received", 100},
                             {"flood_copies", 3},
                             {"injected", 5},
                             {"generated", 2},
                             {"transmitted", 80},
                             {"punted", 6},
                             {"drop.runt", 4},
                             {"segments.merged", 10}},
                .columns = {},
                .ports = {}};
  settle_frames(totals);
  EXPECT_EQ(count_of(totals, "drop.restart"), 10u);
  settle_frames(totals);
  EXPECT_EQ(count_of(totals, "drop.restart"), 10u) << "they add up already";
  totals.counters["received"] += 7;
  settle_frames(totals);
  EXPECT_EQ(count_of(totals, "drop.restart"), 17u) << "of the next process";
}

TEST(Totals, WhatHasEndedHasCome) {
  Totals totals{.counters = {{"received", 1}, {"transmitted", 3}}, .columns = {}, .ports = {}};
  settle_frames(totals);
  EXPECT_EQ(count_of(totals, "received"), 3u);
  EXPECT_EQ(count_of(totals, "drop.restart"), 0u);
}

TEST(Totals, AReasonOfAnotherVersionIsNoneOfOurs) {
  Totals totals{.counters = {{"received", 9}, {"transmitted", 7}, {"drop.of_the_future", 2}},
                .columns = {},
                .ports = {}};
  settle_frames(totals);
  EXPECT_EQ(count_of(totals, "drop.restart"), 2u);
}

// created = active + expired + flushed + early_dropped + lost
TEST(Totals, SessionsAddUpToThoseThatGoOn) {
  const struct {
    const char* says;
    std::uint64_t created, expired;
    Revivals found;
    std::uint64_t created_then, expired_then, lost_then;
  } cases[] = {
      {"as they were kept", 10, 4, found({{Revival::Restored, 6}}), 10, 4, 0},
      {"two were opened since", 10, 4, found({{Revival::Restored, 8}}), 12, 4, 0},
      {"two have ended since", 10, 4, found({{Revival::Restored, 4}}), 10, 6, 0},
      {"some do not go on", 10, 4,
       found({{Revival::Restored, 2}, {Revival::TimedOut, 1}, {Revival::Torn, 1}, {Revival::NoPort, 2}}), 10,
       5, 3},
      {"nothing was kept", 0, 0, found({{Revival::Restored, 5}, {Revival::Damaged, 1}}), 6, 0, 1},
      {"nothing was there", 0, 0, {}, 0, 0, 0},
      {"more ended than were opened", 3, 9, found({{Revival::Restored, 2}}), 11, 9, 0},
  };
  for (const auto& one : cases) {
    Totals totals{.counters = {{"sessions.created", one.created}, {"sessions.expired", one.expired}},
                  .columns = {},
                  .ports = {}};
    settle_sessions(totals, one.found);
    EXPECT_EQ(count_of(totals, "sessions.created"), one.created_then) << one.says;
    EXPECT_EQ(count_of(totals, "sessions.expired"), one.expired_then) << one.says;
    EXPECT_EQ(count_of(totals, "sessions.lost"), one.lost_then) << one.says;
  }
}

TEST(Totals, SessionsThatWereFlushedEvictedOrLostBeforeHaveEnded) {
  Totals totals{.counters = {{"sessions.created", 20},
                             {"sessions.expired", 1},
                             {"sessions.flushed", 2},
                             {"sessions.early_dropped", 3},
                             {"sessions.lost", 4}},
                .columns = {},
                .ports = {}};
  settle_sessions(totals, found({{Revival::Restored, 10}}));
  EXPECT_EQ(count_of(totals, "sessions.created"), 20u);
  EXPECT_EQ(count_of(totals, "sessions.expired"), 1u);
}

}  // namespace
}  // namespace vmnat::control
