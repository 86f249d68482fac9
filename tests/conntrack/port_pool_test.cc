// SPDX-License-Identifier: Apache-2.0
// External ports: assigned blocks, what is given and in which order, rest, and several workers on one address.
#include "conntrack/port_pool.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <set>

#include "tests/conntrack/fixture.h"

namespace vmnat::conntrack {
namespace {

constexpr PortSpace kSpace = PortSpace::Udp;
constexpr net::L4Port kAny{};  // nothing to preserve

// The ports of an address, and room for another one.
struct OneAddress {
  std::shared_ptr<const ExternalAddresses> addresses;
  std::unique_ptr<ExternalPorts> ports;
  ExternalPorts& operator*() const { return *ports; }
  ExternalPorts* operator->() const { return ports.get(); }
};

OneAddress one_address(std::uint16_t first, std::uint16_t last, unsigned workers = 1,
                       std::vector<std::uint16_t> reserved = {}, const std::vector<WorkerIndex>& homes = {}) {
  const ExternalAddress address{Nat::external_address(0), first, last, std::move(reserved)};
  return {ExternalAddresses::of({&address, 1}), ExternalPorts::create(2, workers, homes)};
}

// Runs of 8 blocks go round the workers.
std::vector<WorkerIndex> homes_of(unsigned workers) {
  std::vector<WorkerIndex> homes(kPortBlocks);
  for (unsigned block = 0; block < homes.size(); ++block)
    homes[block] = static_cast<WorkerIndex>(block / 8 % workers);
  return homes;
}
WorkerIndex home_of(unsigned port, unsigned workers = 2) {
  return static_cast<WorkerIndex>(port / 64 / 8 % workers);
}

std::set<unsigned> take_all(PortPool& pool, Time now = {}) {
  std::set<unsigned> taken;
  while (const auto port = pool.allocate(0, kSpace, {kAny}, now))
    EXPECT_TRUE(taken.insert(port->host()).second);
  return taken;
}

TEST(ExternalPorts, RefusesWhatCannotBe) {
  EXPECT_NE(ExternalPorts::create(1, 1), nullptr);
  EXPECT_EQ(ExternalPorts::create(0, 1), nullptr);
  EXPECT_EQ(ExternalPorts::create(kMaxExternalAddresses + 1, 1), nullptr);
  EXPECT_EQ(ExternalPorts::create(1, 0), nullptr);
  EXPECT_EQ(ExternalPorts::create(1, 255), nullptr);
  std::vector<WorkerIndex> homes = homes_of(2);
  EXPECT_NE(ExternalPorts::create(1, 2, homes), nullptr);
  EXPECT_EQ(ExternalPorts::create(1, 1, homes), nullptr) << "homes of a worker that is not there";
  homes.pop_back();
  EXPECT_EQ(ExternalPorts::create(1, 2, homes), nullptr) << "a block without a home";
}

TEST(ExternalPorts, RoomForAddressesThatAreNotThereTakesNoMemory) {
  Nat small({.addresses = 1, .room = 1}), roomy({.addresses = 1, .room = kMaxExternalAddresses});
  EXPECT_NE(roomy.open(endpoint("192.168.122.10", 40000), endpoint("198.51.100.1", 443)), nullptr);
  EXPECT_NE(small.open(endpoint("192.168.122.10", 40000), endpoint("198.51.100.1", 443)), nullptr);
  const auto used = [](Nat& nat) {
    std::size_t soon = nat->memory_used() + nat.ports().memory_used();
    for (const Extent& extent : nat->touched_soon()) soon += extent.soon;
    return soon;
  };
  EXPECT_LE(used(roomy), used(small) + (1u << 20)) << "but for pages at the arrays' ends";
}

TEST(ExternalPorts, NamesTheOwnerOfEveryAssignedPort) {
  const auto ports = one_address(1024, 65535, 2);
  EXPECT_EQ(ports->owner(0, net::L4Port::from_host(5000)), kNoWorker);
  ASSERT_TRUE(ports->assign(0, 5000 / 64, 1));
  EXPECT_FALSE(ports->assign(0, 5000 / 64, 0));
  EXPECT_EQ(ports->owner(0, net::L4Port::from_host(5000)), 1);
  EXPECT_EQ(ports->owner(0, net::L4Port::from_host(5000 / 64 * 64 + 64)), kNoWorker);
  ports->give_back(0, 5000 / 64);
  EXPECT_EQ(ports->owner(0, net::L4Port::from_host(5000)), kNoWorker);
}

TEST(PortPool, GivesEveryAllowedPortOnceAndNoOther) {
  const auto ports = one_address(1030, 1300, 1, {1040, 1064, 1300});
  PortPool pool(*ports, *ports.addresses, 0, 1);
  std::set<unsigned> expected;
  for (unsigned port = 1030; port < 1300; ++port) expected.insert(port);
  expected.erase(1040);
  expected.erase(1064);
  EXPECT_EQ(take_all(pool), expected);
  EXPECT_EQ(pool.used(0, kSpace), expected.size());
  EXPECT_EQ(pool.used(0, PortSpace::Tcp), 0u);
  EXPECT_TRUE(pool.check_invariants());
}

TEST(PortPool, GivesThePreferredPortOrARandomOne) {
  const auto ports = one_address(1024, 65535);
  PortPool pool(*ports, *ports.addresses, 0, 1);
  const auto wanted = net::L4Port::from_host(40000);
  EXPECT_EQ(pool.allocate(0, kSpace, {wanted}, {}), wanted);
  EXPECT_NE(pool.allocate(0, kSpace, {wanted}, {}), wanted);
  EXPECT_EQ(pool.allocate(0, PortSpace::Tcp, {wanted}, {}), wanted);  // numbered apart
  const auto privileged = pool.allocate(0, kSpace, {net::L4Port::from_host(123)}, {});
  ASSERT_TRUE(privileged);
  EXPECT_GE(privileged->host(), 1024);
}

TEST(PortPool, RandomPortsAreHardToGuess) {
  // RFC 6056: over many pools, the first port given lies anywhere, and its neighbours follow in no order.
  std::set<unsigned> first;
  unsigned ascending = 0;
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    const auto ports = one_address(1024, 65535);
    PortPool pool(*ports, *ports.addresses, 0, seed);
    const unsigned a = pool.allocate(0, kSpace, {kAny}, {})->host();
    const unsigned b = pool.allocate(0, kSpace, {kAny}, {})->host();
    first.insert(a);
    ascending += b > a;
  }
  EXPECT_GT(first.size(), 480u);
  EXPECT_GT(ascending, 200u);
  EXPECT_LT(ascending, 300u);
}

TEST(PortPool, FreedPortsRestForTwoMinutesUnlessNothingElseIsFree) {
  const auto ports = one_address(1024, 1151);  // two blocks
  PortPool pool(*ports, *ports.addresses, 0, 1);
  const auto port = *pool.allocate(0, kSpace, {kAny}, at_seconds(10));
  pool.release(0, kSpace, port, at_seconds(10));
  std::set<unsigned> others;
  for (unsigned i = 0; i < 127; ++i) others.insert(pool.allocate(0, kSpace, {port}, at_seconds(129))->host());
  EXPECT_EQ(others.size(), 127u);
  EXPECT_FALSE(others.contains(port.host()));  // not even as the preferred one
  EXPECT_EQ(pool.allocate(0, kSpace, {kAny}, at_seconds(129)), port);
  EXPECT_TRUE(pool.check_invariants());
}

TEST(PortPool, RestedPortsAreGivenAgain) {
  const auto ports = one_address(1024, 1151);
  PortPool pool(*ports, *ports.addresses, 0, 1);
  for (unsigned round = 0; round < 5; ++round) {
    const Time now = at_seconds(round * 241);
    const std::set<unsigned> taken = take_all(pool, now);
    EXPECT_EQ(taken.size(), 128u);
    for (const unsigned port : taken)
      pool.release(0, kSpace, net::L4Port::from_host(static_cast<std::uint16_t>(port)), now);
    // Within the rest, the pool yields; after it, a preferred port is plainly free.
    const auto wanted = net::L4Port::from_host(1100);
    EXPECT_EQ(pool.allocate(0, kSpace, {wanted}, now + Ticks{std::chrono::seconds(240)}), wanted);
    pool.release(0, kSpace, wanted, now);
    EXPECT_TRUE(pool.check_invariants());
  }
}

TEST(PortPool, TheLongestRestedPortIsGivenFirst) {
  const auto ports = one_address(1024, 1087);  // one block
  PortPool pool(*ports, *ports.addresses, 0, 1);
  take_all(pool, at_seconds(0));
  const auto early = net::L4Port::from_host(1050), late = net::L4Port::from_host(1040);
  pool.release(0, kSpace, early, at_seconds(100));
  pool.release(0, kSpace, late, at_seconds(130));
  EXPECT_EQ(pool.allocate(0, kSpace, {kAny}, at_seconds(131)), early);
  EXPECT_EQ(pool.allocate(0, kSpace, {kAny}, at_seconds(131)), late);
}

TEST(PortPool, BlocksMoveToTheWorkerThatNeedsThem) {
  const auto ports = one_address(1024, 1024 + 10 * 64 - 1, 2);
  PortPool first(*ports, *ports.addresses, 0, 1), second(*ports, *ports.addresses, 1, 2);
  const std::set<unsigned> of_first = take_all(first);
  EXPECT_EQ(of_first.size(), 9u * 64);  // all but the block that each worker always has
  EXPECT_EQ(take_all(second).size(), 64u);
  for (const unsigned port : of_first)
    first.release(0, kSpace, net::L4Port::from_host(static_cast<std::uint16_t>(port)), {});
  EXPECT_EQ(take_all(second).size(), 8u * 64);
  EXPECT_EQ(take_all(first).size(), 64u);
  EXPECT_TRUE(first.check_invariants());
  EXPECT_TRUE(second.check_invariants());
}

TEST(PortPool, PortsAtHomeAreGivenFirstAndAllOthersAfterThem) {
  constexpr unsigned kBlocks = 32;
  const auto ports = one_address(1024, 1024 + kBlocks * 64 - 1, 2, {}, homes_of(2));
  PortPool first(*ports, *ports.addresses, 0, 1), second(*ports, *ports.addresses, 1, 2);
  std::set<unsigned> given;
  for (unsigned i = 0; i < kBlocks / 2 * 64; ++i) {
    const auto port = first.allocate(0, kSpace, {kAny}, {});
    ASSERT_TRUE(port);
    ASSERT_EQ(home_of(port->host()), 0) << "after " << i;
    given.insert(port->host());
  }
  EXPECT_EQ(given.size(), kBlocks / 2 * 64);
  // Now the other's, up to the one block that each worker always has.
  const std::set<unsigned> foreign = take_all(first);
  EXPECT_EQ(foreign.size(), (kBlocks / 2 - 1) * 64);
  for (const unsigned port : foreign) EXPECT_EQ(home_of(port), 1);
  EXPECT_EQ(take_all(second).size(), 64u);
  EXPECT_TRUE(first.check_invariants());
  // Once there are ports at home again, they are preferred to those of the blocks held elsewhere.
  const auto at_home = net::L4Port::from_host(static_cast<std::uint16_t>(*given.begin()));
  const auto elsewhere = net::L4Port::from_host(static_cast<std::uint16_t>(*foreign.begin()));
  for (const auto port : {elsewhere, at_home}) first.release(0, kSpace, port, {});
  EXPECT_EQ(first.allocate(0, kSpace, {kAny}, at_seconds(300)), at_home);
  EXPECT_EQ(first.allocate(0, kSpace, {kAny}, at_seconds(300)), elsewhere);
}

TEST(PortPool, APortIsPreservedAtHomeOnly) {
  const auto ports = one_address(1024, 65535, 2, {}, homes_of(2));
  PortPool pool(*ports, *ports.addresses, 1, 1);
  Random random(3);
  unsigned preserved = 0;
  for (unsigned i = 0; i < 2000; ++i) {
    const auto wanted = net::L4Port::from_host(static_cast<std::uint16_t>(1024 + random.next() % 64512));
    const auto probable = *pool.probable(0, kSpace, wanted);
    const auto port = *pool.allocate(0, kSpace, {wanted, probable}, {});
    EXPECT_EQ(home_of(port.host()), 1);
    EXPECT_EQ(home_of(probable.host()), 1);
    preserved += port == wanted;
  }
  EXPECT_GT(preserved, 700u);
}

TEST(PortPool, AWorkerWithoutAHomeTakesAnyBlock) {
  const auto ports = one_address(1024, 65535, 3, {}, homes_of(2));
  PortPool homeless(*ports, *ports.addresses, 2, 1);
  const auto wanted = net::L4Port::from_host(40000);
  EXPECT_EQ(homeless.allocate(0, kSpace, {wanted}, {}), wanted);
  EXPECT_EQ(take_all(homeless).size(), 64511u);
}

TEST(ExternalPorts, EveryBlockAtHomeIsAsLikely) {
  // RFC 6056: a run of blocks at home must not favour its first one, nor a word of them the next.
  std::vector<WorkerIndex> homes(kPortBlocks, 1);
  for (const unsigned block : {16u, 17u, 18u, 19u, 30u, 31u, 200u, 1000u}) homes[block] = 0;
  const auto ports = one_address(1024, 65535, 2, {}, homes);
  std::map<unsigned, unsigned> assigned;
  Random random(7);
  for (unsigned i = 0; i < 8000; ++i) {
    const auto block = ports->assign_among(ports->home_of(0), 0, 0, random.next());
    ASSERT_TRUE(block);
    ++assigned[*block];
    ports->give_back(0, *block);
  }
  EXPECT_EQ(assigned.size(), 8u);
  for (const auto& [block, times] : assigned) {
    EXPECT_EQ(homes[block], 0);
    EXPECT_NEAR(times, 1000, 150) << block;  // five standard deviations
  }
}

class PortPoolOfWorkers : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(, PortPoolOfWorkers, ::testing::Bool(), [](const auto& parameter) {
  return parameter.param ? "WithHomes" : "WithoutHomes";
});

TEST_P(PortPoolOfWorkers, NoPortIsEverGivenByTwoWorkers) {
  const auto ports = one_address(1024, 65535, 3, {}, GetParam() ? homes_of(3) : std::vector<WorkerIndex>{});
  const ExternalAddresses& addresses = *ports.addresses;
  PortPool pools[] = {{*ports, addresses, 0, 1}, {*ports, addresses, 1, 2}, {*ports, addresses, 2, 3}};
  Random random(9);
  std::vector<std::pair<unsigned, net::L4Port>> given;
  std::set<unsigned> ports_given;
  for (unsigned step = 0; step < 300'000; ++step) {
    if (given.empty() || random.next() % 100 < 55) {
      const auto worker = static_cast<unsigned>(random.next() % 3);
      const auto wanted = net::L4Port::from_host(static_cast<std::uint16_t>(random.next()));
      const auto port = pools[worker].allocate(0, kSpace, {wanted}, at_seconds(step / 100));
      if (!port) continue;
      ASSERT_TRUE(ports_given.insert(port->host()).second);
      ASSERT_EQ(ports->owner(0, *port), worker);
      given.emplace_back(worker, *port);
    } else {
      std::swap(given[random.next() % given.size()], given.back());
      const auto [worker, port] = given.back();
      pools[worker].release(0, kSpace, port, at_seconds(step / 100));
      ports_given.erase(port.host());
      given.pop_back();
    }
  }
  for (const auto& [worker, port] : given) pools[worker].release(0, kSpace, port, at_seconds(9999));
  for (const PortPool& pool : pools) {
    EXPECT_TRUE(pool.check_invariants());
    EXPECT_EQ(pool.used(0, kSpace), 0u);
  }
}

TEST(PortPool, PreservingPortsLeavesOtherWorkersTheirShare) {
  const auto ports = one_address(1024, 65535, 4);
  PortPool greedy(*ports, *ports.addresses, 0, 1);
  Random random(5);
  for (unsigned i = 0; i < 5000; ++i)
    greedy.allocate(0, kSpace, {net::L4Port::from_host(static_cast<std::uint16_t>(random.next()))}, {});
  unsigned assigned = 0;
  for (unsigned block = 0; block < kPortBlocks; ++block) assigned += greedy.is_held(0, block);
  EXPECT_LE(assigned, kPortBlocks / 4);
}

}  // namespace
}  // namespace vmnat::conntrack
