// SPDX-License-Identifier: Apache-2.0
// Control's turns at populating the session tables: one worker after the other, bounded, quiet when refused.
#include "control/gateway/table_pages.h"

#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "control/log/log.h"

namespace vmnat::control {
namespace {

using namespace std::chrono_literals;

// The tables of two workers with nothing in them.
struct Tables {
  Tables() {
    const conntrack::ExternalAddress address{.address = net::Ipv4Addr::of(203, 0, 113, 1)};
    addresses = conntrack::ExternalAddresses::of({&address, 1});
    ports = conntrack::ExternalPorts::create(16, 2);
    for (WorkerIndex worker = 0; worker < 2; ++worker) {
      owned.push_back(conntrack::Conntrack::create({.capacity = 1u << 20, .worker = worker}, *ports,
                                                   *addresses, {&policy, 1}));
      all.push_back(owned.back().get());
    }
  }
  void protect(int protection) const {
    for (const conntrack::Conntrack* table : all) {
      for (const conntrack::Extent& extent : table->touched_soon())
        EXPECT_TRUE(extent.bytes == 0 || mprotect(extent.start, extent.bytes, protection) == 0);
    }
  }

  conntrack::NatPolicy policy;
  std::shared_ptr<const conntrack::ExternalAddresses> addresses;
  std::unique_ptr<conntrack::ExternalPorts> ports;
  std::vector<std::unique_ptr<conntrack::Conntrack>> owned;
  std::vector<const conntrack::Conntrack*> all;
};

TEST(TablePages, TakesOneStepAtATimeWhenThereIsNoTimeAndTheWorkersInTurn) {
  const Tables tables;
  TablePages pages(tables.all);
  const std::size_t before[] = {tables.all[0]->memory_used(), tables.all[1]->memory_used()};
  EXPECT_TRUE(pages.populate(0ns));
  EXPECT_EQ(tables.all[0]->memory_used(), before[0] + conntrack::LookAhead::kStep);
  EXPECT_EQ(tables.all[1]->memory_used(), before[1]);
  EXPECT_TRUE(pages.populate(0ns));
  EXPECT_EQ(tables.all[1]->memory_used(), before[1] + conntrack::LookAhead::kStep);
}

TEST(TablePages, RestsWhenAllTablesHaveWhatTheyNeedSoon) {
  const Tables tables;
  TablePages pages(tables.all);
  while (pages.populate(1ms)) {
  }
  for (const conntrack::Conntrack* table : tables.all) {
    for (const conntrack::Extent& extent : table->touched_soon())
      EXPECT_GE(conntrack::resident_bytes(extent.start, extent.soon), extent.soon);
  }
  const std::size_t used = tables.all[0]->memory_used();
  EXPECT_FALSE(pages.populate(1ms));
  EXPECT_EQ(tables.all[0]->memory_used(), used);
}

TEST(TablePages, ARefusalIsLoggedOnceAndTriedAgainLater) {
  const Tables tables;
  TablePages pages(tables.all);
  tables.protect(PROT_READ);
  ::testing::internal::CaptureStderr();
  start_log(spdlog::level::info, LogFormat::Text);
  EXPECT_FALSE(pages.populate(1s));
  EXPECT_FALSE(pages.populate(1s));
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, ::testing::HasSubstr("cannot be populated ahead"));
  EXPECT_EQ(std::ranges::count(log, '\n'), 1) << log;
  tables.protect(PROT_READ | PROT_WRITE);
  const auto deadline = std::chrono::steady_clock::now() + 60s;
  bool has_stepped = false;
  while (!has_stepped && std::chrono::steady_clock::now() < deadline) has_stepped = pages.populate(0ns);
  EXPECT_TRUE(has_stepped);
}

}  // namespace
}  // namespace vmnat::control
