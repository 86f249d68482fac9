// SPDX-License-Identifier: Apache-2.0
#include "dataplane/worker/idle.h"

#include <gtest/gtest.h>

namespace vmnat::dataplane {
namespace {

TEST(IdleRest, SleepsAnEighthOfTheSilenceAtMostTwoMilliseconds) {
  EXPECT_EQ(IdleRest::sleep_after(100'000), 12'500u);
  EXPECT_EQ(IdleRest::sleep_after(1'000'000), 125'000u);
  EXPECT_EQ(IdleRest::sleep_after(16'000'000), 2'000'000u);
  EXPECT_EQ(IdleRest::sleep_after(4'000'000'000), 2'000'000u);
}

}  // namespace
}  // namespace vmnat::dataplane
