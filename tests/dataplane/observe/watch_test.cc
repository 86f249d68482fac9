// SPDX-License-Identifier: Apache-2.0
// What observers see of frames that workers carry: testbed.h draws the ports.
#include "dataplane/observe/watch.h"

#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>

#include "tests/support/testbed.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using dataplane::kNoPort;
using dataplane::Observation;
using dataplane::Observations;
using dataplane::Record;
using dataplane::RecordRing;
using dataplane::Sight;
using dataplane::Watches;
using Scope = Observation::Scope;

struct Told {
  Sight sight;
  PortIndex port;
  DropReason reason{};
  PortIndex towards = kNoPort;
  bool operator==(const Told&) const = default;
};
void PrintTo(const Told& told, std::ostream* out) {
  *out << static_cast<int>(told.sight) << " at " << told.port << ", reason " << static_cast<int>(told.reason)
       << " towards " << told.towards;
}
constexpr Told received(PortIndex port) {
  return {.sight = Sight::Received, .port = port};
}
constexpr Told transmitted(PortIndex port) {
  return {.sight = Sight::Transmitted, .port = port};
}
constexpr Told dropped(PortIndex port, DropReason reason, PortIndex towards = kNoPort) {
  return {.sight = Sight::Dropped, .port = port, .reason = reason, .towards = towards};
}

struct WatchTest : testing::Test {
  Testbed bed{2};
  Observations observations;

  void observe(Scope scope, PortIndex port = kNoPort, std::uint32_t snap = 262'144,
               std::size_t ring = 1 << 20) {
    Observation wanted{.scope = scope, .port = port, .snap = snap};
    for (unsigned worker = 0; worker < 2; ++worker)
      wanted.rings.push_back(std::make_unique<RecordRing>(ring));
    observations.push_back(std::make_shared<const Observation>(std::move(wanted)));
    publish();
  }
  void publish() {
    bed.change_state([&](dataplane::ForwardingState& state) {
      state.watches = observations.empty()
                          ? nullptr
                          : std::make_shared<Watches>(2u, observations, dataplane::TraceMark{});
    });
  }
  // What an observer was told, in the order of time; its frames' bytes go to `frames`.
  std::vector<Told> told(std::size_t observer = 0) {
    std::multimap<std::uint64_t, std::pair<Told, Bytes>> by_time;
    frames.clear();
    lengths.clear();
    for (const auto& ring : observations[observer]->rings)
      for (const Record* record = nullptr; (record = ring->next()) != nullptr; ring->release()) {
        if (record->sight == Sight::Nothing) continue;
        const auto* begin = static_cast<const std::byte*>(record->bytes());
        by_time.emplace(record->tsc,
                        std::pair{Told{record->sight, record->port, record->reason, record->towards},
                                  Bytes(begin, begin + record->kept)});
        lengths.push_back(record->length);
      }
    std::vector<Told> all;
    for (const auto& [tsc, seen] : by_time) {
      all.push_back(seen.first);
      frames.push_back(seen.second);
    }
    return all;
  }
  Bytes udp(std::size_t payload = 18) const {
    return Packet()
        .from(vm_mac(1), kVm1Address, 4000)
        .to(kRedMac, kServer, 53)
        .udp()
        .payload(payload)
        .frame();
  }

  std::vector<Bytes> frames;
  std::vector<std::uint32_t> lengths;
};

TEST_F(WatchTest, WhatComesIsSeenAsItCameAndWhatLeavesAsItLeaves) {
  observe(Scope::All);
  bed.exchange(kVm1, udp());
  EXPECT_EQ(told(), (std::vector{received(kVm1), transmitted(kUplink)}));
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(frames[0], udp());
  EXPECT_THAT(bed.take(kUplink), testing::ElementsAre(frames[1]));
}

TEST_F(WatchTest, OfAPortAreItsOwnFramesAlone) {
  observe(Scope::Port, kVm1);
  observe(Scope::Port, kUplink);
  observe(Scope::Port, kVm3);
  bed.exchange(kVm1, udp());
  EXPECT_EQ(told(0), std::vector{received(kVm1)});
  EXPECT_EQ(told(1), std::vector{transmitted(kUplink)});
  EXPECT_EQ(told(2), std::vector<Told>{});
}

TEST_F(WatchTest, ADropIsSeenWithItsReason) {
  observe(Scope::Drops);
  observe(Scope::Port, kVm1);
  Bytes broken = udp();
  broken[24] = ~broken[24];  // the checksum of the IPv4 header
  bed.exchange(kVm1, broken);
  EXPECT_EQ(told(0), std::vector{dropped(kVm1, DropReason::IpChecksum)});
  EXPECT_EQ(told(1), (std::vector{received(kVm1), dropped(kVm1, DropReason::IpChecksum)}));
}

TEST_F(WatchTest, AFrameThatThePortDoesNotTakeIsDroppedOnItsWayThere) {
  observe(Scope::Port, kUplink);
  bed.change_state([](dataplane::ForwardingState& state) { state.ports[kUplink].up = false; });
  bed.exchange(kVm1, udp());
  EXPECT_EQ(told(), std::vector{dropped(kVm1, DropReason::PortDown, kUplink)});
}

TEST_F(WatchTest, EachCopyOfAFloodIsSeenWhereItLeaves) {
  observe(Scope::All);
  bed.exchange(
      kVm1,
      Packet().from(vm_mac(1), kVm1Address, 1).to(net::kBroadcastMac, "255.255.255.255", 9).udp().frame());
  EXPECT_THAT(told(), testing::UnorderedElementsAre(received(kVm1), transmitted(kVm2), transmitted(kVm3)));
}

TEST_F(WatchTest, FramesOfControlAndAnswersOfWorkersAreSeen) {
  observe(Scope::Port, kVm1);
  bed.inject(kVm1, udp());
  bed.run();
  EXPECT_EQ(told(), std::vector{transmitted(kVm1)});
}

TEST_F(WatchTest, OfAFrameTheFirstBytesAreKept) {
  observe(Scope::Port, kVm1, 60);
  bed.put(kVm1, buffer_of(udp(1000), 100));
  bed.run();
  told();
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0].size(), 60u);
  EXPECT_EQ(lengths[0], udp(1000).size());
}

TEST_F(WatchTest, WhatTheRingHasNoRoomForIsCountedAndTrafficGoesOn) {
  observe(Scope::Port, kVm1, 262'144, 0);  // the least
  constexpr unsigned kFrames = 1000;
  for (unsigned i = 0; i < kFrames; ++i) bed.exchange(kVm1, udp(1000));
  EXPECT_EQ(bed.take(kUplink).size(), kFrames);
  const std::size_t seen = told().size();
  EXPECT_GT(seen, 200u);
  std::uint64_t missed = 0;
  for (const auto& ring : observations[0]->rings) missed += ring->missed(kVm1);
  EXPECT_EQ(seen + missed, kFrames);
  bed.exchange(kVm1, udp());
  EXPECT_EQ(told().size(), 1u);  // there is room again
}

TEST_F(WatchTest, WhoHasGoneSeesNothingMore) {
  observe(Scope::All);
  const Observations gone = std::exchange(observations, {});
  publish();
  bed.exchange(kVm1, udp());
  observations = gone;
  EXPECT_EQ(told(), std::vector<Told>{});
}

TEST(RecordRing, GivesBackWhatWasPutInRoundAndRound) {
  RecordRing ring(0);
  std::uint32_t put = 0, taken = 0;
  for (int round = 0; round < 10'000; ++round) {
    for (std::uint32_t i = 0; i < 5; ++i) {
      const std::uint32_t kept = (put * 7919) % 3000;
      Record* record = ring.add(kept, 1);
      ASSERT_NE(record, nullptr);
      record->sight = Sight::Received;
      record->length = put++;
      std::memset(record->bytes(), static_cast<int>(put & 0xff), kept);
    }
    ring.publish();
    for (const Record* record = nullptr; (record = ring.next()) != nullptr; ring.release()) {
      if (record->sight == Sight::Nothing) continue;
      ASSERT_EQ(record->length, taken);
      ASSERT_EQ(record->kept, (taken++ * 7919) % 3000);
      const auto* bytes = static_cast<const unsigned char*>(record->bytes());
      for (std::uint32_t i = 0; i < record->kept; ++i) ASSERT_EQ(bytes[i], taken & 0xff);
    }
    ASSERT_EQ(put, taken);
  }
  EXPECT_EQ(ring.missed(), 0u);
}

}  // namespace
}  // namespace vmnat::test
