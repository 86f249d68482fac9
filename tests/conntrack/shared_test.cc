// SPDX-License-Identifier: Apache-2.0
// Several threads: readers see whole records while the worker writes, and workers take blocks at once.
// Built a second time with ThreadSanitizer (conntrack_tsan_test).
#include <atomic>
#include <set>
#include <thread>

#include "conntrack/look_ahead.h"
#include "tests/conntrack/fixture.h"

namespace vmnat::conntrack {
namespace {

constexpr unsigned kPackets = 60;  // bytes of each

// Every session of this test obeys a rule that a torn record would break: the remote repeats the internal
// endpoint with another first byte, and bytes are 60 for each packet.
net::Endpoint internal_number(unsigned i) {
  return {net::Ipv4Addr::from_host(0x0a000000 + i % 251),
          net::L4Port::from_host(static_cast<std::uint16_t>(2000 + i % 509))};
}
net::Endpoint remote_of(net::Endpoint internal) {
  return {net::Ipv4Addr::from_host(internal.address.host() ^ 0x6c000000), internal.port};
}
bool agree(std::uint64_t bytes, std::uint64_t packets) {
  return bytes == kPackets * packets;
}
bool is_whole(const SessionView& view) {
  return view.remote == remote_of(view.internal) && view.external.address == Nat::external_address(0) &&
         view.external.port.host() >= 1024 && agree(view.bytes_out, view.packets_out) &&
         agree(view.bytes_in, view.packets_in) && view.packets_in <= view.packets_out &&
         view.expires - view.last_seen == Ticks{std::chrono::minutes(5)};
}

void write(Nat& nat, std::atomic<bool>& stop) {
  Random random(5);
  Time now{};
  while (!stop.load(std::memory_order_relaxed)) {
    const net::Endpoint internal = internal_number(static_cast<unsigned>(random.next() % 100'000));
    Session* session = nat.open(internal, remote_of(internal), kUdp, now);
    if (session == nullptr) continue;
    for (const Direction direction : {kOut, kIn}) {
      count(*session, direction, kPackets);
      keep_alive(*session, direction, now);
    }
    nat->move_to(*session, static_cast<PortIndex>(random.next() % 4), net::MacAddr{{2, 0, 0, 0, 0, 1}});
    if (random.next() % 2 == 0) nat->erase(*session, now);
    if (random.next() % 64 == 0) {
      now += Ticks{std::chrono::seconds(3)};
      nat->expire(now, 256);
    }
  }
}

void read(Nat& nat, std::uint64_t wanted, std::atomic<std::uint64_t>& torn) {
  std::array<SessionView, 64> views;
  std::uint64_t seen = 0;
  std::uint32_t cursor = 0;
  while (seen < wanted) {
    const std::size_t count = nat->snapshot(cursor, views);
    for (std::size_t at = 0; at < count; ++at) torn += !is_whole(views[at]);
    seen += count;
    if (count < views.size()) cursor = 0;
    const Statistics statistics = nat->statistics();
    torn += statistics.active > nat->capacity();
    torn += nat->ports_used(0, PortSpace::Udp) > 64512;
  }
}

TEST(Shared, ReadersSeeWholeRecordsWhileTheWorkerWrites) {
  Nat nat({.capacity = 3000});
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> torn{0};
  std::thread writer([&] { write(nat, stop); });
  std::thread first([&] { read(nat, 200'000, torn); });
  std::thread second([&] { read(nat, 200'000, torn); });
  first.join();
  second.join();
  stop = true;
  writer.join();
  EXPECT_EQ(torn, 0u);
  EXPECT_EQ(nat.broken_invariant(), "");
}

TEST(Shared, ASessionThatStaysIsSeenOnceInEachRoundWhateverHappensToOthers) {
  Nat nat({.capacity = 2000});
  const net::Endpoint internal = internal_number(7);
  ASSERT_NE(nat.open(internal, remote_of(internal)), nullptr);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    std::vector<Session*> open;
    Random random(3);
    unsigned next = 1000;
    while (!stop.load(std::memory_order_relaxed)) {
      const net::Endpoint other{net::Ipv4Addr::from_host(0x0b000000 + next / 60000),
                                net::L4Port::from_host(static_cast<std::uint16_t>(1024 + next % 60000))};
      ++next;
      if (Session* session = nat.open(other, remote_of(other))) {
        open.push_back(session);
      } else {
        std::swap(open[random.next() % open.size()], open.back());
        nat->erase(*open.back(), {});
        open.pop_back();
      }
    }
  });
  unsigned wrong = 0;
  for (unsigned round = 0; round < 1000; ++round)
    wrong += std::ranges::count(views_of(*nat), internal, &SessionView::internal) != 1;
  stop = true;
  writer.join();
  EXPECT_EQ(wrong, 0u);
}

// Most blocks are at home with one worker, so that the others reach out for them.
TEST(Shared, WorkersTakeAndGiveBackBlocksAtOnce) {
  constexpr unsigned kWorkers = 3;
  std::vector<WorkerIndex> homes(kPortBlocks);
  for (unsigned block = 0; block < homes.size(); ++block) homes[block] = block % 2 ? block / 2 % kWorkers : 0;
  Nat nat({.last_port = 1024 + 32 * 64 - 1, .capacity = 4000, .workers = kWorkers, .homes = homes});
  std::atomic<unsigned> wrong_owner{0};
  const auto work = [&](unsigned worker) {
    Conntrack& conntrack = nat.worker(worker);
    Random random(worker);
    std::vector<Session*> open;
    for (unsigned step = 0; step < 60'000; ++step) {
      const bool grow = step / 2000 % 2 == worker % 2;  // one worker's need is another's rest
      if (open.empty() || random.next() % 100 < (grow ? 80u : 20u)) {
        const net::Endpoint internal{net::Ipv4Addr::from_host(0x0a000000 | worker << 16 | step / 50000),
                                     net::L4Port::from_host(static_cast<std::uint16_t>(step % 50000 + 1))};
        const OutboundFlow flow{.key = FlowKey::of(internal, endpoint("198.51.100.1", 443), kUdp)};
        Session* session = conntrack.open_outbound(flow, 0, {}).session;
        if (session == nullptr) continue;
        open.push_back(session);
        wrong_owner += nat.ports().owner(0, session->external().port) != worker;
      } else {
        std::swap(open[random.next() % open.size()], open.back());
        conntrack.erase(*open.back(), {});
        open.pop_back();
      }
    }
  };
  std::vector<std::thread> threads;
  for (unsigned worker = 0; worker < kWorkers; ++worker) threads.emplace_back(work, worker);
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong_owner, 0u);
  std::set<net::Endpoint> externals;
  std::array<SessionView, 4000> views;
  for (unsigned worker = 0; worker < kWorkers; ++worker) {
    std::uint32_t cursor = 0;
    const std::size_t count = nat.worker(worker).snapshot(cursor, views);
    for (std::size_t i = 0; i < count; ++i) EXPECT_TRUE(externals.insert(views[i].external).second);
  }
  EXPECT_EQ(nat.broken_invariant(), "");
}

// Both take pages as they come; which of the two is first changes nothing in them.
TEST(SharedConntrack, PagesArePopulatedWhileTheWorkerOpensSessions) {
  constexpr unsigned kSessions = 100'000;
  Nat nat({.addresses = 4, .capacity = kSessions, .placement = {Pages::Small}});
  std::atomic<bool> stop{false};
  std::thread control([&] {
    LookAhead ahead(*nat);
    int error = 0;
    while (!stop.load(std::memory_order_relaxed)) ahead.step(error);
    EXPECT_EQ(error, 0);
  });
  for (unsigned i = 0; i < kSessions; ++i) {
    const net::Endpoint internal{net::Ipv4Addr::from_host(0x0a000000 + i % 1000),
                                 net::L4Port::from_host(static_cast<std::uint16_t>(1024 + i / 1000))};
    Session* session = nat.open(internal, remote_of(internal));
    ASSERT_NE(session, nullptr);
    count(*session, kOut, kPackets);
  }
  stop.store(true, std::memory_order_relaxed);
  control.join();
  EXPECT_EQ(nat->statistics().active, kSessions);
  EXPECT_EQ(nat.broken_invariant(), "");
}

}  // namespace
}  // namespace vmnat::conntrack
