// SPDX-License-Identifier: Apache-2.0
// Pages of tables: reserved, populated ahead of use, and where.
#include "conntrack/look_ahead.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <numa.h>
#include <numaif.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/conntrack/fixture.h"

namespace vmnat::conntrack {
namespace {

constexpr std::size_t kMiB = 1u << 20;

// Steps until nothing is left; how many that were.
unsigned look_ahead(LookAhead& ahead) {
  int error = 0;
  unsigned steps = 0;
  while (ahead.step(error)) ++steps;
  EXPECT_EQ(error, 0);
  return steps;
}

bool has_all_pages(const Conntrack& table) {
  return std::ranges::all_of(table.touched_soon(), [](const Extent& extent) {
    return resident_bytes(extent.start, extent.soon) >= extent.soon;
  });
}

// The `i`th flow: of a thousand hosts, each endpoint new.
Session* open_number(Nat& nat, unsigned i, net::Protocol protocol = kUdp) {
  const net::Endpoint internal{net::Ipv4Addr::from_host(0x0a000000 + i % 1000),
                               net::L4Port::from_host(static_cast<std::uint16_t>(1024 + i / 1000))};
  return nat.open(internal, endpoint("198.51.100.1", 443), protocol);
}

class LookAheadWith : public testing::TestWithParam<Pages> {};
INSTANTIATE_TEST_SUITE_P(Pages, LookAheadWith, testing::Values(Pages::Small, Pages::Huge),
                         [](const auto& of) {
                           return of.param == Pages::Small ? "SmallPages" : "HugePages";
                         });

TEST_P(LookAheadWith, BeforeTheFirstSessionATableOfAMillionHas38MegabytesAndNoMore) {
  Nat nat({.capacity = 1u << 20, .placement = {GetParam()}});
  EXPECT_LT(nat->memory_used(), kMiB);
  LookAhead ahead(*nat);
  look_ahead(ahead);
  EXPECT_TRUE(has_all_pages(*nat));
  EXPECT_LE(nat->memory_used(), 38 * kMiB);
  EXPECT_EQ(look_ahead(ahead), 0u);
}

TEST_P(LookAheadWith, ABigTableHasAtMost70MegabytesBeforeItsFirstSession) {
  Nat nat({.addresses = 64, .capacity = 16u << 20, .placement = {GetParam()}});
  LookAhead ahead(*nat);
  look_ahead(ahead);
  EXPECT_TRUE(has_all_pages(*nat));
  EXPECT_LE(nat->memory_used(), 70 * kMiB);
}

TEST_P(LookAheadWith, OpeningSessionsTouchesNoNewPage) {
  Nat nat({.addresses = 4, .capacity = 1u << 20, .placement = {GetParam()}});
  LookAhead ahead(*nat);
  open_number(nat, 0);  // tables of a page or two are touched by it
  unsigned opened = 1;
  for (unsigned round = 0; round < 12; ++round) {
    look_ahead(ahead);
    const std::size_t before = nat->memory_used() + nat.ports().memory_used();
    for (const unsigned end = opened + 20'000; opened < end; ++opened)
      ASSERT_NE(open_number(nat, opened), nullptr);
    EXPECT_EQ(nat->memory_used() + nat.ports().memory_used(), before) << "after " << opened << " sessions";
  }
}

TEST_P(LookAheadWith, AStepIsBounded) {
  Nat nat({.capacity = 1u << 20, .placement = {GetParam()}});
  LookAhead ahead(*nat);
  int error = 0;
  for (std::size_t before = nat->memory_used(); ahead.step(error); before = nat->memory_used())
    EXPECT_LE(nat->memory_used(), before + 2 * LookAhead::kStep);  // it may lie across two huge pages
}

TEST_P(LookAheadWith, AFullTableCostsNoMoreWithIt) {
  constexpr unsigned kSessions = 64'000;
  Nat with({.capacity = kSessions, .placement = {GetParam()}});
  Nat without({.capacity = kSessions, .placement = {GetParam()}});
  LookAhead ahead(*with);
  for (unsigned i = 0; i < kSessions; ++i) {
    ASSERT_NE(open_number(with, i), nullptr);
    ASSERT_NE(open_number(without, i), nullptr);
    if (i % 8000 == 0) look_ahead(ahead);
  }
  look_ahead(ahead);
  EXPECT_LE(with->memory_used(), without->memory_used() + 2 * kMiB);  // slots of protocols that are not used
}

TEST_P(LookAheadWith, StopsAtTheEndOfEachTable) {
  Nat nat({.capacity = 1000, .placement = {GetParam()}});
  LookAhead ahead(*nat);
  for (unsigned i = 0; i < 1000; ++i) open_number(nat, i, i % 2 == 0 ? kTcp : kUdp);
  EXPECT_LE(look_ahead(ahead), Conntrack::kExtents);
  for (const Extent& extent : nat->touched_soon()) EXPECT_LE(extent.soon, extent.bytes);
  EXPECT_EQ(nat.broken_invariant(), "");
}

TEST(LookAhead, ABigIndexHasAllItsPagesFromTheFirstSessionOn) {
  Nat nat({.capacity = 4u << 20});
  const auto index = [&] { return nat->touched_soon()[1]; };
  EXPECT_LT(index().soon, 20 * kMiB);
  open_number(nat, 0);
  EXPECT_EQ(index().soon, index().bytes);
}

TEST(LookAhead, SlotsOfManyAddressesHavePagesAsTheirProtocolIsUsed) {
  Nat nat({.addresses = 64});
  const auto slots = [&](PortSpace space) {
    return nat->touched_soon()[3 + static_cast<unsigned>(space)].soon;
  };
  EXPECT_EQ(slots(PortSpace::Udp), 8 * kMiB);
  for (unsigned i = 0; i < 5; ++i) open_number(nat, i);
  EXPECT_EQ(slots(PortSpace::Udp), (8 + 5 * 2) * kMiB);
  for (unsigned i = 5; i < 100; ++i) open_number(nat, i);
  EXPECT_EQ(slots(PortSpace::Udp), 32 * kMiB);  // all there is
  EXPECT_EQ(slots(PortSpace::Tcp), 8 * kMiB);
  EXPECT_EQ(slots(PortSpace::Icmp), 8 * kMiB);
}

TEST(LookAhead, PermissionsHavePagesOnceTheyAreUsed) {
  NatPolicy policy;
  policy.filtering = Filtering::AddressDependent;
  Nat nat({.capacity = 1u << 16}, policy);
  const auto soon_of_permissions = [&] {
    const auto extents = nat->touched_soon();
    return extents[6].soon + extents[7].soon;
  };
  EXPECT_EQ(soon_of_permissions(), 0u);
  open_number(nat, 0);
  EXPECT_GE(soon_of_permissions(), (1u << 16) * 16u);
}

TEST(LookAhead, LeavesWhatIsInTheTable) {
  Nat nat({.capacity = 1u << 16});
  Session* session = open_number(nat, 0);
  count(*session, kOut, 100);
  LookAhead ahead(*nat);
  EXPECT_GT(look_ahead(ahead), 0u);
  EXPECT_EQ(nat->find(session->outbound_key()), session);
  EXPECT_EQ(session->bytes(kOut), 100u);
  EXPECT_EQ(nat.broken_invariant(), "");
}

TEST(LookAhead, TellsWhatTheSystemRefuses) {
  Nat nat({.capacity = 1u << 16});
  const Extent records = nat->touched_soon()[0];
  ASSERT_EQ(mprotect(records.start, records.bytes, PROT_READ), 0);
  LookAhead ahead(*nat);
  int error = 0;
  EXPECT_FALSE(ahead.step(error));
  EXPECT_NE(error, 0);
  ASSERT_EQ(mprotect(records.start, records.bytes, PROT_READ | PROT_WRITE), 0);
  EXPECT_TRUE(ahead.step(error));
  EXPECT_EQ(error, 0);
}

TEST(ReservedArray, PrefersTheNodeItWasPlacedOn) {
  if (numa_available() < 0) GTEST_SKIP() << "the system knows no NUMA nodes";
  const int node = numa_node_of_cpu(0);
  ReservedArray<std::uint64_t> placed(1000, {Pages::Small, node}), anywhere(1000);
  const auto policy_of = [](void* at) {
    int policy = -1;
    EXPECT_EQ(get_mempolicy(&policy, nullptr, 0, at, MPOL_F_ADDR), 0);
    return policy;
  };
  EXPECT_EQ(policy_of(placed.data()), MPOL_PREFERRED);
  EXPECT_EQ(policy_of(anywhere.data()), MPOL_DEFAULT);
  EXPECT_EQ(populate_pages(placed.filling(0).start, placed.filling(0).soon), 0);
  int on = -1;
  EXPECT_EQ(get_mempolicy(&on, nullptr, 0, placed.data(), MPOL_F_ADDR | MPOL_F_NODE), 0);
  EXPECT_EQ(on, node);
}

// Bytes of the mapping that are in huge pages of a file that is memory.
std::size_t huge_bytes_at(const void* at) {
  std::ifstream maps("/proc/self/smaps");
  char start[32];
  std::snprintf(start, sizeof start, "%lx-", reinterpret_cast<unsigned long>(at));
  bool is_it = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.starts_with(start)) is_it = true;
    if (!is_it || !line.starts_with("ShmemPmdMapped:")) continue;
    return std::stoul(line.substr(sizeof "ShmemPmdMapped:")) * 1024;
  }
  return 0;
}

class SharedPages : public testing::Test {
 protected:
  static constexpr std::size_t kHuge = 2u << 20;
  void SetUp() override {
    file_ = memfd_create("table", 0);
    ASSERT_EQ(ftruncate(file_, 4 * kHuge), 0);
    void* const room = mmap(nullptr, 5 * kHuge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const auto address = (reinterpret_cast<std::uintptr_t>(room) + kHuge - 1) / kHuge * kHuge;
    at_ = static_cast<std::byte*>(mmap(reinterpret_cast<void*>(address), 4 * kHuge, PROT_READ | PROT_WRITE,
                                       MAP_SHARED | MAP_FIXED, file_, 0));
    ASSERT_NE(at_, MAP_FAILED);
    place_pages(at_, 4 * kHuge, {Pages::Huge});
  }
  void TearDown() override {
    munmap(at_, 4 * kHuge);
    close(file_);
  }
  int file_ = -1;
  std::byte* at_ = nullptr;
};

TEST_F(SharedPages, AreHugeWhereNothingIsYet) {
  ASSERT_EQ(populate_pages(at_, kHuge), 0);
  ASSERT_EQ(populate_pages(at_ + kHuge, 3 * kHuge), 0);
  if (huge_bytes_at(at_) == 0) GTEST_SKIP() << "Linux before 6.1, or without transparent huge pages";
  EXPECT_EQ(huge_bytes_at(at_), 4 * kHuge);
  EXPECT_TRUE(std::all_of(at_, at_ + 4 * kHuge, [](std::byte each) { return each == std::byte{0}; }));
}

// Its worker is at work there.
TEST_F(SharedPages, StayAsTheyAreWhereSomethingIs) {
  at_[0] = at_[kHuge + 5] = std::byte{7};
  ASSERT_EQ(populate_pages(at_, 2 * kHuge), 0);
  EXPECT_EQ(huge_bytes_at(at_), 0u);
  EXPECT_EQ(at_[0], std::byte{7});
  EXPECT_EQ(at_[kHuge + 5], std::byte{7});
}

}  // namespace
}  // namespace vmnat::conntrack
