// SPDX-License-Identifier: Apache-2.0
#include "control/gateway/worker_flush.h"

#include <gtest/gtest.h>

namespace vmnat::control {
namespace {

TEST(FlushTurns, OneAtATimeHasTheTurnUntilItLetsGoOfIt) {
  FlushTurns turns;
  auto first = turns.take();
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(turns.take(), nullptr);
  first.reset();
  EXPECT_NE(turns.take(), nullptr);
}

}  // namespace
}  // namespace vmnat::control
