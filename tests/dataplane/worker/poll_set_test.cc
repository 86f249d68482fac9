// SPDX-License-Identifier: Apache-2.0
// At which queues a worker looks, for how long a frame waits, and what stays when control gives it another set.
#include "dataplane/worker/poll_set.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <map>

#include "tests/support/testbed.h"

namespace vmnat::test {
namespace {

using namespace dataplane;

// Queues of ports from 1 on, and how often each was looked at.
struct Looks : testing::Test {
  static std::vector<ReceiveQueue> queues(std::size_t count, PortIndex first = 1) {
    std::vector<ReceiveQueue> queues;
    for (std::size_t i = 0; i < count; ++i) queues.push_back({.port = static_cast<PortIndex>(first + i)});
    return queues;
  }
  unsigned turn(PollSet& set, Look look = Look::AtSomeIdle) {
    return set.poll(look, [this](PolledQueue& queue) -> unsigned {
      ++looks[queue.queue.port];
      const auto found = frames.find(queue.queue.port);
      return found == frames.end() ? 0 : found->second;
    });
  }
  void make_idle(PollSet& set) {
    for (unsigned i = 0; i < PollSet::kQuietPolls; ++i) turn(set);
    looks.clear();
  }
  std::map<PortIndex, unsigned> frames;  // that each look finds
  std::map<PortIndex, unsigned> looks;
};

TEST_F(Looks, FewQueuesAreAllPolledAtEachTurn) {
  PollSet set(queues(PollSet::kFew), {});
  make_idle(set);
  turn(set);
  EXPECT_EQ(looks.size(), PollSet::kFew);
  EXPECT_EQ(set.active(), PollSet::kFew);
}

TEST_F(Looks, OfManyThoseWithFramesArePolledAtEachTurnAndEightOthers) {
  PollSet set(queues(256), {});
  frames = {{7, 1}, {200, 32}};
  make_idle(set);
  EXPECT_EQ(set.active(), 2u);
  EXPECT_EQ(turn(set), 33u);
  EXPECT_EQ(looks[7], 1u);
  EXPECT_EQ(looks[200], 1u);
  EXPECT_EQ(looks.size(), 2 + 3 * PollSet::kLooks) << "for the turn, and for each of two bursts";
}

TEST_F(Looks, TheFirstFrameAfterAPauseWaitsForAnEighthOfTheIdleQueuesTurnsAtMost) {
  for (const PortIndex port : {PortIndex{1}, PortIndex{100}, PortIndex{256}}) {
    PollSet set(queues(256), {});
    frames.clear();
    make_idle(set);
    turn(set);
    frames[port] = 1;
    looks.clear();
    unsigned turns = 0;
    while (looks[port] == 0) turn(set), ++turns;
    EXPECT_LE(turns, 256 / PollSet::kLooks) << port;
    EXPECT_EQ(set.active(), 1u) << "and is polled at each turn from then on";
    turn(set);
    EXPECT_EQ(looks[port], 2u);
  }
}

TEST_F(Looks, BeforeItSleepsAWorkerLooksAtAll) {
  PollSet set(queues(256), {});
  make_idle(set);
  EXPECT_EQ(turn(set, Look::AtAll), 0u);
  EXPECT_EQ(looks.size(), 256u);
  EXPECT_TRUE(std::ranges::all_of(looks, [](const auto& look) { return look.second == 1; }));
}

TEST_F(Looks, EveryQueueHasItsTurnWhileAllOfThemTurnActive) {
  PollSet set(queues(100), {});
  make_idle(set);
  for (PortIndex port = 1; port <= 100; ++port) frames[port] = 1;
  for (unsigned i = 0; i < 16; ++i) turn(set);
  EXPECT_EQ(set.active(), 100u);
  EXPECT_EQ(looks.size(), 100u);
}

TEST_F(Looks, TheUplinkIsNeverIdle) {
  PollSet set(queues(100, kUplinkPort), {});
  make_idle(set);
  EXPECT_EQ(set.active(), 1u);
  turn(set);
  EXPECT_EQ(looks[kUplinkPort], 1u);
}

// One that is polled receives for all.
TEST_F(Looks, AVlanOfATrunkIsNeverIdle) {
  Trunk trunk(0);
  std::vector<ReceiveQueue> some = queues(100);
  for (const std::size_t i : {3u, 50u}) some[i].device = {.vlan = 5, .trunk = &trunk};
  PollSet set(some, {});
  make_idle(set);
  EXPECT_EQ(set.active(), 2u);
  turn(set);
  EXPECT_EQ(looks[some[3].port], 1u);
  EXPECT_EQ(looks[some[50].port], 1u);
}

TEST(PollSet, DebtsOfQueuesThatStayAreTakenOverAndNoOthers) {
  VhostPort device, other;
  PollSet before({{.device = {.vhost = &device}, .port = 1}, {.device = {.vhost = &device}, .port = 2}}, {});
  for (PolledQueue& queue : before.queues()) queue.share.charge(1000);
  PollSet after({{.device = {.vhost = &other}, .port = 2}, {.device = {.vhost = &device}, .port = 1}}, {});
  after.take_debts_of(before);
  EXPECT_FALSE(after.queues()[0].share.has_turn()) << "port 1, the same as before";
  EXPECT_TRUE(after.queues()[1].share.has_turn()) << "port 2 has another device";
}

// A worker, and control that gives it other queues by a state.
struct Adopting : testing::Test {
  void poll_only(const std::vector<PortIndex>& ports) {
    bed.change_state([&](ForwardingState& state) {
      std::vector<ReceiveQueue> queues;
      for (const PortIndex port : ports)
        queues.push_back({.device = state.ports[port].device, .port = port, .pool = packet_pool()});
      state.polled = {std::make_shared<PollSet>(queues, Sharers{.ports = 6, .guests = 1})};
    });
  }
  static Bytes hello(PortIndex port) {
    return Packet()
        .from(vm_mac(static_cast<std::uint8_t>(port)), "192.168.122." + std::to_string(9 + port), 5000)
        .to(kRedMac, kServer, 80)
        .udp()
        .frame();
  }
  Testbed bed;
};

TEST_F(Adopting, APortThatIsPolledNoMoreKeepsItsFramesAndOthersGoOn) {
  poll_only({kUplink, kVm2});
  bed.exchange(kVm1, hello(kVm1));
  EXPECT_EQ(bed.counts()["vm1.rx"], 0u);
  bed.exchange(kVm2, hello(kVm2));
  EXPECT_EQ(bed.counts()["uplink.tx"], 1u);
  poll_only({kUplink, kVm1});
  bed.run();
  EXPECT_EQ(bed.counts()["vm1.rx"], 1u) << "what had waited";
  EXPECT_EQ(bed.counts()["uplink.tx"], 2u);
  EXPECT_TRUE(bed.is_balanced());
}

}  // namespace
}  // namespace vmnat::test
