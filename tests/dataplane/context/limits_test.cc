// SPDX-License-Identifier: Apache-2.0
// Buckets beside their definition, and what frames are charged.
#include "dataplane/context/limits.h"

#include <gtest/gtest.h>
#include <thread>
#include <vector>

#include "base/random.h"
#include "dataplane/context/fair_turns.h"
#include "tests/support/testbed.h"

namespace vmnat::test {
namespace {

using namespace dataplane;
using Sharing = FairTurns::Sharing;

constexpr std::uint64_t kHz = 2'300'000'000;

// What may have been taken by then, by the definition, in whole numbers of 128 bits.
__extension__ using Wide = unsigned __int128;
std::int64_t brought(std::uint64_t ticks, std::uint64_t per_second, std::uint64_t hz = kHz) {
  return static_cast<std::int64_t>(Wide{ticks} * per_second / hz);
}

TEST(RateBucket, BringsWhatTheRateSaysToTheByteHoweverOftenItIsAsked) {
  for (const std::uint64_t per_second :
       {1'000ull, 125'000ull, 12'500'000ull, 12'345'679ull, 12'500'000'000ull}) {
    constexpr std::uint64_t kStart = 77, kBurst = 100'000'000'000;
    RateBucket bucket({per_second, kBurst}, kHz, kStart);
    bucket.charge(kStart, kBurst);  // empty
    Random random(per_second);
    std::uint64_t now = kStart;
    for (unsigned i = 0; i < 2000; ++i) {
      now += random.next() % (kHz / 200);
      const std::int64_t exact = brought(now - kStart, per_second);
      ASSERT_LE(bucket.balance(now), exact) << per_second << " after " << i;
      ASSERT_GE(bucket.balance(now), exact - 1) << per_second << " after " << i;
    }
  }
}

TEST(RateBucket, NothingIsLostWhenItIsChargedInSmallPieces) {
  constexpr std::uint64_t kRate = 12'500'000, kBurst = 20'000;
  RateBucket bucket({kRate, kBurst}, kHz, 0);
  std::uint64_t taken = 0;
  Random random(7);
  std::uint64_t now = 0;
  for (; now < 10 * kHz; now += 1 + random.next() % 20'000)  // some microseconds, each
    while (bucket.balance(now) > 0) {
      const std::uint64_t size = 60 + random.next() % 1455;
      bucket.charge(now, size);
      taken += size;
    }
  EXPECT_NEAR(static_cast<double>(taken), static_cast<double>(kBurst + kRate * 10), 1515);
}

TEST(RateBucket, APauseSavesUpOneBurstAndADebtIsPaidFirst) {
  RateBucket bucket({1000, 100}, kHz, 0);
  EXPECT_EQ(bucket.balance(0), 100);
  EXPECT_EQ(bucket.balance(3600 * kHz), 100) << "no more";
  bucket.charge(3600 * kHz, 350);
  EXPECT_EQ(bucket.balance(3600 * kHz), -250);
  EXPECT_EQ(bucket.balance(3600 * kHz + kHz / 4), 0);
  EXPECT_EQ(bucket.balance(3600 * kHz + kHz / 4 + kHz / 20), 50);
  EXPECT_EQ(bucket.balance(3601 * kHz), 100);
}

TEST(RateBucket, AClockThatIsBehindTheStartTakesNothingAway) {
  RateBucket bucket({1'000'000, 5000}, kHz, kHz);
  EXPECT_EQ(bucket.balance(kHz - 1000), 5000);
  bucket.charge(kHz - 1000, 5000);
  EXPECT_EQ(bucket.balance(kHz), 0);
}

TEST(RateBucket, IsExactForThreadsThatShareIt) {
  constexpr std::uint64_t kEach = 200'000;
  RateBucket bucket({0, 8 * kEach}, kHz, 0);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 4; ++i)
    threads.emplace_back([&bucket] {
      for (std::uint64_t n = 0; n < kEach; ++n) bucket.charge(0, 2);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(bucket.balance(0), 0);
}

TEST(Limit, HoldsWhateverIsUsedUpFirst) {
  Limit limit({.bytes = {1'000'000, 100'000}, .peak = {2'000'000, 3000}, .packets = {100, 10}}, kHz, 0);
  EXPECT_EQ(limit.left(0).bytes, 3000) << "the peak";
  EXPECT_EQ(limit.left(0).frames, 10);
  limit.charge(0, {3000, 2});
  EXPECT_FALSE(limit.left(0).is_any());
  EXPECT_TRUE(limit.left(kHz / 1000).is_any());
  EXPECT_NEAR(static_cast<double>(limit.left(kHz / 1000).bytes), 2000, 1) << "the burst goes at the peak";
  limit.charge(kHz, {500, 20});
  EXPECT_FALSE(limit.left(kHz).is_any()) << "packets";
  EXPECT_GT(limit.left(kHz).bytes, 0);
}

TEST(WireSize, OfASuperFrameIsThatOfItsSegments) {
  rte_mbuf* const frame = buffer_of(Bytes(1514));
  EXPECT_EQ(wire_size(frame), (WireSize{1514, 1}));
  const struct {
    std::uint64_t flag;
    std::uint16_t l4;
    std::uint32_t payload;
    std::uint16_t segment;
    WireSize size;
  } kCases[] = {
      {RTE_MBUF_F_RX_LRO, 20, 14'480, 1448, {14'480 + 10 * 54, 10}},
      {RTE_MBUF_F_RX_LRO, 32, 14'481, 1448, {14'481 + 11 * 66, 11}},
      {RTE_MBUF_F_TX_TCP_SEG, 32, 65'000, 64, {65'000 + 1016 * 66, 1016}},
      {RTE_MBUF_F_TX_UDP_SEG, 8, 3000, 1000, {3000 + 3 * 42, 3}},
  };
  for (const auto& [flag, l4, payload, segment, size] : kCases) {
    frame->ol_flags = flag;
    frame->l2_len = 14;
    frame->l3_len = 20;
    frame->l4_len = l4;
    frame->pkt_len = 34u + l4 + payload;
    frame->tso_segsz = segment;
    EXPECT_EQ(wire_size(frame), size) << payload;
  }
  frame->tso_segsz = 0;
  EXPECT_EQ(wire_size(frame).frames, 1u) << "nothing to divide by";
  frame->pkt_len = 1514;
  rte_pktmbuf_free(frame);
}

TEST(FairTurns, WhoAlwaysHasFramesGetsAnEvenShareByBytesAndWhoWantsLessGetsThat) {
  FairTurns turns(8);
  Limit limit({.bytes = {10'000'000, 20'000}}, kHz, 0);
  const PortLimits port{
      .in = {}, .out = {.own = nullptr, .network = &limit, .uplink = nullptr}, .network = 3};
  const unsigned kSizes[] = {1514, 64, 600,
                             45'000};  // of the ports' frames; the fifth has one of 100 now and then
  std::array<std::uint64_t, 5> got{};
  std::uint64_t wanted = 0;
  for (std::uint64_t now = 0; now < 20 * kHz; now += kHz / 50'000) {
    const bool has_fifth = now / (kHz / 50'000) % 10 == 0;  // 500 KB a second: less than a fifth
    if (has_fifth) wanted += 100;
    for (PortIndex p = 0; p < 5; ++p) {
      std::uint64_t available = p < 4 ? 32ull * kSizes[p] : wanted - got[4];
      while (available > 0) {
        if (!limit.left(now).is_any()) {
          turns.note_used_up(port, Sharing::Network);
          break;
        }
        if (turns.share_left(port, p, Sharing::Network, limit) <= 0) break;
        const std::uint64_t size = p < 4 ? kSizes[p] : 100;
        limit.charge(now, {size, 1});
        turns.take(p, Sharing::Network, size);
        got[p] += size;
        available -= size;
      }
    }
    turns.end_turn();
  }
  EXPECT_GE(got[4] + 3000, wanted);
  const std::uint64_t all = 20ull * 10'000'000 + 20'000, rest = all - got[4];
  EXPECT_NEAR(static_cast<double>(got[0] + got[1] + got[2] + got[3]), static_cast<double>(rest), 50'000);
  for (unsigned p = 0; p < 4; ++p)
    EXPECT_NEAR(static_cast<double>(got[p]), static_cast<double>(rest) / 4, 0.01 * static_cast<double>(rest))
        << p;
}

TEST(FairTurns, SuperFramesAndRareTurnsLoseNothingOfTheLimit) {
  FairTurns turns(8);
  Limit limit({.bytes = {12'500'000, 125'000}}, kHz, 0);
  const PortLimits port{
      .in = {}, .out = {.own = nullptr, .network = &limit, .uplink = nullptr}, .network = 0};
  std::array<std::uint64_t, 2> got{};
  for (std::uint64_t now = 0; now < 10 * kHz; now += kHz / 1000) {
    for (bool goes_on = true; goes_on;) {  // a turn in which a round ends is followed by another one
      goes_on = false;
      for (PortIndex p = 0; p < 2; ++p) {
        if (!limit.left(now).is_any()) {
          turns.note_used_up(port, Sharing::Network);
          continue;
        }
        if (turns.share_left(port, p, Sharing::Network, limit) <= 0) continue;
        limit.charge(now, {68'000, 45});
        turns.take(p, Sharing::Network, 68'000);
        turns.note_more(port, p, Sharing::Network);
        got[p] += 68'000;
      }
      goes_on |= turns.end_turn();
    }
  }
  EXPECT_NEAR(static_cast<double>(got[0] + got[1]), 10 * 12.5e6 + 125'000, 2 * 68'000);
  EXPECT_NEAR(static_cast<double>(got[0]), static_cast<double>(got[1]), 68'000);
}

TEST(FairTurns, OfOneLimitSayNothingOfAnothers) {
  FairTurns turns(8);
  Limit first({.bytes = {1000, 1000}}, kHz, 0), second({.bytes = {1000, 1000}}, kHz, 0);
  const PortLimits one{.in = {}, .out = {.own = nullptr, .network = &first, .uplink = nullptr}, .network = 0};
  const PortLimits other{
      .in = {}, .out = {.own = nullptr, .network = &second, .uplink = nullptr}, .network = 1};
  turns.share_left(one, 1, Sharing::Network, first);
  turns.share_left(other, 2, Sharing::Network, second);
  turns.note_used_up(one, Sharing::Network);
  EXPECT_TRUE(turns.end_turn()) << "the second limit's round has ended";
  EXPECT_GT(turns.share_left(other, 2, Sharing::Network, second), 0);
  EXPECT_LE(turns.share_left(one, 1, Sharing::Network, first), 0);
}

}  // namespace
}  // namespace vmnat::test
