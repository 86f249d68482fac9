// SPDX-License-Identifier: Apache-2.0
// What the log is spared, with a clock that the test owns.
#include "control/log/log_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vmnat::control {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct LogBudgetTest : ::testing::Test {
  LogBudget budget;
  LogBudget::Time now{1000s};

  unsigned admitted(unsigned lines, LogBudget::Subject subject) {
    unsigned count = 0;
    for (unsigned i = 0; i < lines; ++i) count += budget.admits(subject, now) ? 1 : 0;
    return count;
  }
};

constexpr LogBudget::Subject kVm1{"link", "vm1"}, kVm2{"link", "vm2"};

TEST_F(LogBudgetTest, WritesSoManyLinesAtOnceThenOneAPause) {
  EXPECT_EQ(admitted(100, kVm1), LogBudget::kAtOnce);
  now += LogBudget::kPause - 1ms;
  EXPECT_EQ(admitted(100, kVm1), 0u);
  now += 1ms;
  EXPECT_EQ(admitted(100, kVm1), 1u);
  now += 1h;
  EXPECT_EQ(admitted(100, kVm1), LogBudget::kAtOnce) << "a long silence gives no more";
}

TEST_F(LogBudgetTest, EachCauseAndSubjectHasItsOwn) {
  EXPECT_EQ(admitted(100, kVm1), LogBudget::kAtOnce);
  EXPECT_EQ(admitted(100, kVm2), LogBudget::kAtOnce);
  EXPECT_EQ(admitted(100, {"claims", "vm1"}), LogBudget::kAtOnce);
}

TEST_F(LogBudgetTest, WhatWasSuppressedIsCountedAndToldOnceAPause) {
  admitted(100, kVm1);
  admitted(11, kVm2);
  EXPECT_THAT(budget.take_suppressed(now), IsEmpty()) << "more may come";
  now += LogBudget::kPause;
  EXPECT_THAT(budget.take_suppressed(now),
              ElementsAre("vm1: 90 more lines suppressed (link)", "vm2: 1 more lines suppressed (link)"));
  EXPECT_THAT(budget.take_suppressed(now), IsEmpty());
}

TEST_F(LogBudgetTest, SubjectsWithoutEndShareOneBudget) {
  for (std::size_t i = 0; i < LogBudget::kMostSubjects; ++i)
    EXPECT_TRUE(budget.admits({"dpdk", std::to_string(i)}, now));
  unsigned more = 0;
  for (std::size_t i = 0; i < 1000; ++i)
    more += budget.admits({"dpdk", "x" + std::to_string(i)}, now) ? 1 : 0;
  EXPECT_EQ(more, LogBudget::kAtOnce);
}

TEST_F(LogBudgetTest, WritesTheLineThroughTheLog) {
  ::testing::internal::CaptureStderr();
  ::testing::internal::CaptureStdout();
  for (int i = 0; i < 20; ++i)
    budget.log(spdlog::level::warn, kVm1, now, "port {} is {}", "vm1", i % 2 == 0 ? "up" : "down");
  spdlog::default_logger()->flush();
  const std::string text =
      ::testing::internal::GetCapturedStdout() + ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::ranges::count(text, '\n'), LogBudget::kAtOnce) << text;
}

}  // namespace
}  // namespace vmnat::control
