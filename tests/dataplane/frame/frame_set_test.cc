// SPDX-License-Identifier: Apache-2.0
// Sets of a burst's frames: all 64 places are like the others.
#include "dataplane/frame/frame_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <numeric>
#include <vector>

namespace vmnat::dataplane {
namespace {

using ::testing::ElementsAre;

std::vector<unsigned> places_of(FrameSet set) {
  std::vector<unsigned> places;
  for (const unsigned i : set) places.push_back(i);
  return places;
}

TEST(FrameSet, HasWhatWasAddedAtAnyPlace) {
  for (unsigned i = 0; i < kBurstSize; ++i) {
    FrameSet set;
    EXPECT_TRUE(set.is_empty());
    set.add(i);
    EXPECT_TRUE(set.has(i));
    EXPECT_EQ(set.size(), 1u);
    EXPECT_EQ(set.reach(), i + 1);
    EXPECT_THAT(places_of(set), ElementsAre(i));
    EXPECT_EQ(set, FrameSet::of(std::uint64_t{1} << i));
  }
}

TEST(FrameSet, TheFirstOnesAreNoneOrAllOrAnyNumber) {
  for (unsigned count = 0; count <= kBurstSize; ++count) {
    std::vector<unsigned> expected(count);
    std::iota(expected.begin(), expected.end(), 0u);
    EXPECT_EQ(places_of(FrameSet::first(count)), expected);
  }
}

TEST(FrameSet, FramesAreAddedBehindOthersAndTakenOut) {
  FrameSet set = FrameSet::first(30);
  set.add_first(3, 30);
  set.add_first(0, 33);
  EXPECT_EQ(set, FrameSet::first(33));
  set.add_first(2, 62);
  EXPECT_THAT(places_of(set.without(FrameSet::first(32))), ElementsAre(32, 62, 63));
}

}  // namespace
}  // namespace vmnat::dataplane
