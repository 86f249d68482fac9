// SPDX-License-Identifier: Apache-2.0
#include "dataplane/context/refused_remotes.h"

#include <gtest/gtest.h>
#include <map>
#include <random>
#include <thread>

namespace vmnat::dataplane {
namespace {

using Row = RefusedRemotes::Row;

net::Ipv4Addr remote(std::uint32_t number) {
  return net::Ipv4Addr::from_host(0xc6330000 + number);
}
const Row* row_of(const RefusedRemotes::Copy& copy, net::Ipv4Addr address) {
  for (const Row& row : copy.rows)
    if (row.count != 0 && row.remote == address) return &row;
  return nullptr;
}

TEST(RefusedRemotes, CountsEachRemoteAndKnowsTheLastRefusal) {
  RefusedRemotes refused;
  EXPECT_EQ(refused.copied().latest.count, 0u);
  for (unsigned i = 0; i < 3; ++i) refused.note(remote(1), 7, DropReason::NoPort);
  refused.note(remote(2), 8, DropReason::SessionRate);
  const auto copy = refused.copied();
  EXPECT_EQ(row_of(copy, remote(1))->count, 3u);
  EXPECT_EQ(row_of(copy, remote(1))->port, 7);
  EXPECT_EQ(row_of(copy, remote(1))->cause, DropReason::NoPort);
  EXPECT_EQ(row_of(copy, remote(2))->count, 1u);
  EXPECT_EQ(copy.latest.count, 4u);
  EXPECT_EQ(copy.latest.remote, remote(2));
  EXPECT_EQ(copy.latest.port, 8);
  EXPECT_EQ(copy.latest.cause, DropReason::SessionRate);
}

TEST(RefusedRemotes, ANewRemoteTakesTheLeastOnesRowWithItsCount) {
  RefusedRemotes refused;
  for (unsigned i = 0; i < RefusedRemotes::kRows; ++i)
    for (unsigned times = 0; times < 5 + i; ++times) refused.note(remote(i), 1, DropReason::NoPort);
  refused.note(remote(99), 1, DropReason::NoPort);
  const auto copy = refused.copied();
  EXPECT_EQ(row_of(copy, remote(0)), nullptr);
  EXPECT_EQ(row_of(copy, remote(99))->count, 6u);
  EXPECT_EQ(row_of(copy, remote(99))->excess, 5u);
  EXPECT_EQ(row_of(copy, remote(1))->excess, 0u);
}

// Space-Saving's promises, against exact counts.
TEST(RefusedRemotes, NeverCountsTooLittleNorBeyondItsExcessAndMissesNoFrequentOne) {
  RefusedRemotes refused;
  std::map<net::Ipv4Addr, std::uint64_t> exact;
  std::mt19937 random(4);
  constexpr unsigned kRefusals = 50'000;
  for (unsigned i = 0; i < kRefusals; ++i) {
    const auto who = remote(random() % 2 == 0 ? random() % 4 : random() % 5000);
    refused.note(who, 1, DropReason::NoPort);
    ++exact[who];
  }
  const auto copy = refused.copied();
  std::uint64_t total = 0;
  for (const Row& row : copy.rows) {
    EXPECT_GE(row.count, exact[row.remote]);
    EXPECT_LE(row.count - row.excess, exact[row.remote]);
    total += row.count;
  }
  EXPECT_EQ(total, kRefusals) << "no refusal is lost";
  for (const auto& [who, count] : exact)
    EXPECT_TRUE(count <= kRefusals / RefusedRemotes::kRows || row_of(copy, who) != nullptr);
}

TEST(RefusedRemotes, AReaderSeesWholeRowsWhileTheWorkerWrites) {
  RefusedRemotes refused;
  std::atomic<bool> stop{false};
  std::thread worker([&] {
    for (std::uint32_t i = 0; !stop.load(std::memory_order_relaxed); ++i)
      refused.note(remote(i % 40), static_cast<PortIndex>(i % 40), DropReason::NoPort);
  });
  for (unsigned i = 0; i < 2000; ++i) {
    const auto copy = refused.copied();
    std::uint64_t total = 0;
    for (const Row& row : copy.rows) {
      EXPECT_TRUE(row.count == 0 || row.remote == remote(row.port));
      total += row.count;
    }
    EXPECT_EQ(total, copy.latest.count);
  }
  stop.store(true, std::memory_order_relaxed);
  worker.join();
}

}  // namespace
}  // namespace vmnat::dataplane
