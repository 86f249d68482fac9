// SPDX-License-Identifier: Apache-2.0
// What is under way in a ring, as driver and device write it into its memory.
#include "bench/generator/transmit_ring.h"

#include <array>
#include <cstring>
#include <gtest/gtest.h>

#include "dataplane/device/virtio.h"

namespace vmnat::bench {
namespace {

using dataplane::virtio::Descriptor;
using dataplane::virtio::PackedDescriptor;
using dataplane::virtio::RingStart;

constexpr unsigned kEntries = 8;

struct SplitRing {
  struct Memory {
    std::array<Descriptor, kEntries> descriptors;
    RingStart available;
    std::array<std::uint16_t, kEntries> heads;
    alignas(4096) RingStart used;
  };
  alignas(4096) Memory memory{};
  TransmitRing ring{reinterpret_cast<std::byte*>(&memory), kEntries, RingFormat::Split};
};

TEST(TransmitRing, CountsWhatASplitRingHasNotGivenBack) {
  SplitRing split;
  EXPECT_EQ(split.ring.frames_under_way(), 0u);
  split.memory.available.index = 5;
  EXPECT_EQ(split.ring.frames_under_way(), 5u);
  split.memory.used.index = 4;
  EXPECT_EQ(split.ring.frames_under_way(), 1u);
}

TEST(TransmitRing, CountsAcrossTheEndOfASplitRingsIndices) {
  SplitRing split;
  split.memory.available.index = 2;
  split.memory.used.index = 65535;
  EXPECT_EQ(split.ring.frames_under_way(), 3u);
}

class PackedRing : public testing::Test {
 protected:
  void send(unsigned frames) {
    for (; frames > 0; --frames, ++sent_)
      mark(sent_, static_cast<std::uint16_t>(sent_ % kEntries),
           lap_of(sent_) != 0 ? kSentInOddLap : kSentInEvenLap);
  }
  // By one descriptor, the first one's.
  void give_back(unsigned frames) {
    const unsigned last = returned_ + frames - 1;
    mark(returned_, static_cast<std::uint16_t>(last % kEntries),
         lap_of(returned_) != 0 ? kBothMarks : std::uint16_t{0});
    returned_ += frames;
  }
  unsigned frames_under_way() { return ring_.frames_under_way(); }

 private:
  static constexpr std::uint16_t kBothMarks = PackedDescriptor::kAvailable | PackedDescriptor::kUsed;
  static constexpr std::uint16_t kSentInOddLap = PackedDescriptor::kAvailable;
  static constexpr std::uint16_t kSentInEvenLap = PackedDescriptor::kUsed;

  // 1, 0, 1, ...
  static unsigned lap_of(unsigned number) { return 1 - number / kEntries % 2; }
  void mark(unsigned number, std::uint16_t id, std::uint16_t flags) {
    memory_[number % kEntries].state = {.id = id, .flags = flags};
  }

  std::array<PackedDescriptor, kEntries> memory_{};
  TransmitRing ring_{reinterpret_cast<std::byte*>(memory_.data()), kEntries, RingFormat::Packed};
  unsigned sent_ = 0, returned_ = 0;
};

TEST_F(PackedRing, CountsWhatHasNotBeenGivenBack) {
  EXPECT_EQ(frames_under_way(), 0u);
  send(3);
  EXPECT_EQ(frames_under_way(), 3u);
  give_back(1);
  EXPECT_EQ(frames_under_way(), 2u);
  give_back(1);
  give_back(1);
  EXPECT_EQ(frames_under_way(), 0u);
}

TEST_F(PackedRing, TakesSeveralThatAreGivenBackByOneDescriptor) {
  send(5);
  give_back(4);
  EXPECT_EQ(frames_under_way(), 1u);
}

TEST_F(PackedRing, CountsAllOfAFullRing) {
  send(kEntries);
  EXPECT_EQ(frames_under_way(), kEntries);
  give_back(kEntries);
  EXPECT_EQ(frames_under_way(), 0u);
}

TEST_F(PackedRing, GoesOnForManyLaps) {
  for (unsigned turn = 0; turn < 10 * kEntries; ++turn) {
    send(3);
    EXPECT_EQ(frames_under_way(), 3u) << turn;
    give_back(turn % 2 == 0 ? 3 : 2);
    if (turn % 2 != 0) give_back(1);
    EXPECT_EQ(frames_under_way(), 0u) << turn;
  }
}

}  // namespace
}  // namespace vmnat::bench
