// SPDX-License-Identifier: Apache-2.0
// An uplink whose device is full: VMs share what it takes, and nothing of it is lost that need not be.
#include "dataplane/context/backlog.h"

#include <algorithm>
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>

#include "tests/support/guest_vms.h"
#include "tests/support/tags.h"

namespace vmnat::test {
namespace {

using namespace dataplane;
using std::chrono::microseconds;
using ::testing::Each;
using ::testing::ElementsAre;
namespace virtio = dataplane::virtio;

constexpr std::uint32_t kFullFrame = 1514;
constexpr std::size_t kHeader = sizeof(virtio::NetHeader);

// The uplink's wire is a guest's ring that has room for so many bytes a turn: a link that is slower than its VMs.
struct SlowUplink : ::testing::Test {
  explicit SlowUplink(Testbed::Shape shape = {}) : bed(slow(std::move(shape), uplink)) {
    uplink.queue(0) = receiver.queue();
    uplink.attach(virtio::kVersion1);
    uplink.set_enabled(0, true);
    uplink.resume(VhostPort::kDrivenHere);
  }
  static Testbed::Shape slow(Testbed::Shape shape, VhostPort& uplink) {
    shape.guests[kUplink] = &uplink;
    return shape;
  }
  static Bytes frame_of(unsigned vm, std::size_t bytes, std::uint16_t number = 0) {
    return Packet()
        .from(vm_mac(static_cast<std::uint8_t>(vm + 1)), kVmAddresses[vm],
              static_cast<std::uint16_t>(5000 + vm))
        .to(vm == 3 ? kBlueMac : kRedMac, kServer, static_cast<std::uint16_t>(8000 + vm))
        .udp()
        .identification(number)
        .payload(bytes - 42)
        .frame();
  }
  void send(unsigned vm, std::size_t bytes, unsigned count = 1) {
    for (unsigned i = 0; i < count; ++i) bed.put(kVms[vm], frame_of(vm, bytes));
  }
  // The link takes so many bytes, and what it was too much is taken off the next time.
  void let_go(std::int64_t bytes) {
    for (credit += bytes; credit > 0;) {
      receiver.offer(0, {buffer});
      bed.pass(microseconds{1});
      const auto used = receiver.used();
      if (used.empty()) break;  // nothing waits: the buffer stays there
      for (const auto& element : used) note(receiver.read({buffer.address, element.length}));
    }
    credit = std::min<std::int64_t>(credit, 0);
  }
  void note(const Bytes& bytes) {
    frames.emplace_back(bytes.begin() + kHeader, bytes.end());
    credit -= static_cast<std::int64_t>(frames.back().size());
  }
  // What has left since it was asked last, in bytes by VM.
  std::array<double, 4> shares() {
    std::array<double, 4> shares{};
    for (const Bytes& frame : frames) shares.at(vm_of(frame)) += static_cast<double>(frame.size());
    frames.clear();
    return shares;
  }
  static unsigned vm_of(const Bytes& frame) {
    return std::to_integer<unsigned>(frame[36]) * 256 + std::to_integer<unsigned>(frame[37]) - 8000;
  }
  std::uint64_t held() { return bed.worker(0).counters().limits_held.get(); }
  std::uint64_t dropped_of(unsigned vm) {
    return bed.worker(0).counters().ports[kVms[vm]].drops[index_of(DropReason::TxFull)].get();
  }

  VhostPort uplink;
  FakeGuest receiver;
  FakeGuest::Buffer buffer{FakeGuest::kLow, 2048};
  std::int64_t credit = 0;
  std::vector<Bytes> frames;
  Testbed bed;
};

// The first VM floods, the others want exactly their part of the link.
void a_flood_leaves_others_their_share(SlowUplink& at, std::size_t bytes, unsigned count) {
  constexpr unsigned kTurns = 2000;
  for (unsigned turn = 0; turn < kTurns; ++turn) {
    at.send(0, bytes, count);
    for (const unsigned vm : {1u, 2u, 3u}) at.send(vm, kFullFrame);
    at.let_go(4 * kFullFrame);
  }
  constexpr double kShare = double{kTurns} * kFullFrame;
  for (const double share : at.shares()) EXPECT_NEAR(share, kShare, kShare / 20);
  EXPECT_GT(at.dropped_of(0), kTurns / 2) << "what the flood is too much is its own loss";
  for (const unsigned vm : {1u, 2u, 3u}) EXPECT_EQ(at.dropped_of(vm), 0u) << vm;
  EXPECT_TRUE(at.bed.is_balanced());
}

TEST_F(SlowUplink, AFloodOfSmallFramesLeavesOthersTheirShare) {
  a_flood_leaves_others_their_share(*this, 60, 64);
}

TEST_F(SlowUplink, AFloodOfFullFramesLeavesOthersTheirShare) {
  a_flood_leaves_others_their_share(*this, kFullFrame, 16);
}

struct SlowUplinkOfTwoWorkers : SlowUplink {
  SlowUplinkOfTwoWorkers() : SlowUplink({.workers = 2}) {}
};

TEST_F(SlowUplinkOfTwoWorkers, AFloodByAnotherWorkerLeavesOthersTheirShare) {
  constexpr unsigned kTurns = 2000;
  for (unsigned turn = 0; turn < kTurns; ++turn) {
    send(0, kFullFrame, 8);
    for (const unsigned vm : {1u, 2u, 3u}) send(vm, kFullFrame);
    let_go(4 * kFullFrame);
  }
  constexpr double kShare = double{kTurns} * kFullFrame;
  for (const double share : shares()) EXPECT_NEAR(share, kShare, kShare / 20);
  EXPECT_GT(bed.worker(0).counters().handoff_frames.get() + bed.worker(1).counters().handoff_frames.get(),
            kTurns)
      << "some VM is the other worker's";
  EXPECT_TRUE(bed.is_balanced());
}

TEST_F(SlowUplink, FloodsOfAnyFramesGetEvenParts) {
  for (unsigned turn = 0; turn < 2000; ++turn) {
    send(0, 60, 64);
    send(1, 200, 32);
    send(2, 1000, 8);
    send(3, kFullFrame, 8);
    let_go(4 * kFullFrame);
  }
  constexpr double kShare = 2000.0 * kFullFrame;
  EXPECT_THAT(shares(), Each(::testing::DoubleNear(kShare, kShare / 20)));
}

TEST_F(SlowUplink, WhatThereIsRoomForWaitsForNothing) {
  for (unsigned i = 0; i < 100; ++i) {
    receiver.offer(0, {buffer});
    bed.exchange(kVm1, frame_of(0, 100));
    ASSERT_EQ(receiver.used().size(), 1u);
  }
  EXPECT_EQ(bed.worker(0).counters().backlogged.get(), 0u);
}

TEST_F(SlowUplink, FramesOfAFlowKeepTheirOrderAndAreAllThere) {
  std::vector<unsigned> expected, seen;
  for (std::uint16_t number = 1; number <= 200; ++number) {
    expected.push_back(number);
    bed.put(kVm1, frame_of(0, 100, number));
    if (number % 5 == 0) bed.pass(microseconds{1});
    if (number % 50 == 0) let_go(500);
  }
  EXPECT_GT(held(), 100u);
  let_go(200 * 100);
  for (const Bytes& frame : frames) seen.push_back(std::to_integer<unsigned>(frame[19]));
  EXPECT_EQ(seen, expected);
  EXPECT_EQ(held(), 0u);
  EXPECT_EQ(bed.dropped(DropReason::TxFull), 0u);
  EXPECT_TRUE(bed.is_balanced());
}

TEST_F(SlowUplink, OfABurstThatWaitsAsManyLeaveAsHaveRoomAndTheOthersWaitOn) {
  constexpr std::uint16_t kBurst = 64;
  FakeGuest wide(virtio::kVersion1, 0, kBurst);
  uplink.queue(0) = wide.queue();
  const std::size_t free = bed.free_buffers();
  std::vector<unsigned> expected, seen;
  for (std::uint16_t number = 1; number <= kBurst; ++number) {
    expected.push_back(number);
    bed.put(kVm1, frame_of(0, 100, number));
  }
  bed.run();
  ASSERT_EQ(held(), kBurst);
  for (const std::uint16_t room : {40, 3, 21}) {
    std::vector<FakeGuest::Buffer> buffers;
    for (std::uint16_t head = 0; head < room; ++head) {
      buffers.push_back(wide.room(256));
      wide.offer(head, {buffers.back()});
    }
    bed.pass(microseconds{1});
    const auto used = wide.used();
    ASSERT_EQ(used.size(), room);
    for (const auto& element : used) note(wide.read({buffers[element.head].address, element.length}));
  }
  for (const Bytes& frame : frames) seen.push_back(std::to_integer<unsigned>(frame[19]));
  EXPECT_EQ(seen, expected);
  EXPECT_EQ(held(), 0u);
  EXPECT_EQ(bed.free_buffers(), free);
  EXPECT_EQ(bed.dropped(DropReason::TxFull), 0u);
  EXPECT_TRUE(bed.is_balanced());
}

TEST_F(SlowUplink, AQueueIsBoundedAndTheRestIsCountedForItsVm) {
  const std::size_t free = bed.free_buffers();
  send(0, kFullFrame, 250);
  bed.run();
  const auto most = Backlog::kMostBytes / kFullFrame;
  EXPECT_EQ(held(), most);
  EXPECT_EQ(dropped_of(0), 250 - most);
  EXPECT_EQ(bed.worker(0).counters().ports[kUplink].tx_refused.get(), 250 - most);
  EXPECT_EQ(bed.worker(0).counters().backlogged.get(), most);
  EXPECT_TRUE(bed.is_balanced());
  let_go(250 * std::int64_t{kFullFrame});
  EXPECT_EQ(frames.size(), most);
  EXPECT_EQ(held(), 0u);
  EXPECT_EQ(bed.free_buffers(), free);
}

TEST_F(SlowUplink, TheGatewaysOwnFramesGoFirst) {
  send(0, kFullFrame, 20);
  bed.run();
  const Bytes question =
      arp(net::ArpOperation::Request, kUplinkMac, kExternal, {}, "203.0.113.1", net::kBroadcastMac);
  bed.inject(kUplink, question);
  bed.run();
  let_go(1);
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0], question);
}

TEST_F(SlowUplink, WhatVmsSendEachOtherDoesNotWait) {
  bed.learn(kVm2, vm_mac(2));
  send(0, kFullFrame, 20);
  bed.run();
  const Bytes neighbours =
      Packet().from(vm_mac(1), kVm1Address, 1).to(vm_mac(2), kVm2Address, 2).udp().frame();
  bed.exchange(kVm1, neighbours);
  EXPECT_THAT(bed.take(kVm2), ElementsAre(neighbours));
  EXPECT_EQ(held(), 20u);
}

TEST_F(SlowUplink, WhatWaitsForALinkThatGoesDownIsDropped) {
  const std::size_t free = bed.free_buffers();
  send(0, kFullFrame, 20);
  bed.run();
  bed.change_state([](ForwardingState& state) { state.ports[kUplink].up = false; });
  bed.pass(microseconds{1});
  EXPECT_EQ(bed.dropped(DropReason::PortDown), 20u);
  EXPECT_EQ(held(), 0u);
  EXPECT_EQ(bed.free_buffers(), free);
  EXPECT_TRUE(bed.is_balanced());
  bed.change_state([](ForwardingState& state) { state.ports[kUplink].up = true; });
  send(0, kFullFrame);
  let_go(kFullFrame);
  EXPECT_EQ(frames.size(), 1u);
}

TEST_F(SlowUplink, WhatWaitsForADeviceThatTakesNothingGoesInTheEnd) {
  const std::size_t free = bed.free_buffers();
  send(0, kFullFrame, 20);
  bed.run();
  bed.pass(std::chrono::milliseconds{99});
  EXPECT_EQ(held(), 20u);
  let_go(1);  // one has left: the others wait on
  bed.pass(std::chrono::milliseconds{99});
  EXPECT_EQ(held(), 19u);
  bed.pass(std::chrono::milliseconds{2});
  EXPECT_EQ(held(), 0u);
  EXPECT_EQ(dropped_of(0), 19u);
  EXPECT_EQ(bed.free_buffers(), free);
  EXPECT_TRUE(bed.is_balanced());
}

TEST_F(SlowUplink, AWorkerThatEndsFreesWhatWaits) {
  const std::size_t free = bed.free_buffers();
  send(0, kFullFrame, 20);
  bed.run();
  EXPECT_LT(bed.free_buffers(), free);
  bed.worker(0).request_stop();
  bed.worker(0).run();
  EXPECT_EQ(bed.free_buffers(), free);
}

struct SlowUplinkOfAVlan : SlowUplink {
  static Testbed::Shape shape() {
    Testbed::Shape shape;
    shape.vlans[kUplink] = 100;
    return shape;
  }
  SlowUplinkOfAVlan() : SlowUplink(shape()) {}
};

TEST_F(SlowUplinkOfAVlan, EachFrameHasOneTag) {
  send(0, 100, 40);
  bed.run();
  EXPECT_EQ(held(), 40u);
  let_go(40 * 104);
  ASSERT_EQ(frames.size(), 40u);
  for (const Bytes& frame : frames) EXPECT_EQ(frame.size(), 104u);
}

// A VM's ring that is full costs the frames that are for it, as ever.
TEST(FullRing, OfAVmIsNotWaitedFor) {
  VhostPort vm;
  Testbed::Shape shape;
  shape.guests[kVm2] = &vm;
  Testbed bed(shape);
  FakeGuest guest;
  vm.queue(0) = guest.queue();
  vm.attach(virtio::kVersion1);
  vm.set_enabled(0, true);
  vm.resume(VhostPort::kDrivenHere);
  bed.learn(kVm2, vm_mac(2));
  bed.exchange(kVm1, Packet().from(vm_mac(1), kVm1Address, 1).to(vm_mac(2), kVm2Address, 2).udp().frame());
  EXPECT_EQ(bed.dropped(DropReason::TxFull), 1u);
  EXPECT_EQ(bed.worker(0).counters().limits_held.get(), 0u);
}

// The queues by themselves: frames of a test's own.
struct BacklogQueues : ::testing::Test {
  BacklogQueues() : backlog(8, kUplink) {}
  ~BacklogQueues() override {
    while (!backlog.is_empty()) rte_pktmbuf_free(backlog.take(backlog.whose_turn()));
  }
  static rte_mbuf* frame(std::size_t bytes, std::uint16_t segment_size = 0) {
    rte_mbuf* const made = buffer_of(Bytes(bytes));
    if (segment_size == 0) return made;
    made->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
    made->tso_segsz = segment_size;
    made->l2_len = 14;
    made->l3_len = made->l4_len = 20;
    return made;
  }
  void add(PortIndex from, std::size_t bytes, unsigned count, std::uint16_t segment_size = 0) {
    for (unsigned i = 0; i < count; ++i) backlog.add(frame(bytes, segment_size), from);
  }
  // Takes so many, in bytes on the wire by port.
  std::map<PortIndex, std::uint64_t> take(unsigned count) {
    std::map<PortIndex, std::uint64_t> bytes;
    for (unsigned i = 0; i < count; ++i) {
      const PortIndex from = backlog.whose_turn();
      rte_mbuf* const taken = backlog.take(from);
      bytes[from] += wire_size(taken).bytes;
      rte_pktmbuf_free(taken);
    }
    return bytes;
  }
  Backlog backlog;
};

TEST_F(BacklogQueues, SuperFramesAreWorthTheirSegments) {
  add(kVm1, 1054, 100, 10);  // 100 segments, each with 54 bytes of headers: 6400 bytes on the wire
  add(kVm2, 64, 1000);
  const auto taken = take(500);
  EXPECT_NEAR(static_cast<double>(taken.at(kVm1)), static_cast<double>(taken.at(kVm2)), 2.0 * Backlog::kTurn);
}

TEST_F(BacklogQueues, WhatIsPutBackIsWhereItWasAndStillHasItsTurn) {
  add(kVm1, 1000, 3);
  add(kVm2, 9000, 2);
  ASSERT_EQ(backlog.whose_turn(), kVm1);
  std::vector<rte_mbuf*> taken, again;
  while (backlog.goes_on(kVm1)) taken.push_back(backlog.take(kVm1));
  ASSERT_EQ(taken.size(), 3u);
  for (unsigned i = 3; i-- > 1;) backlog.put_back(taken[i], kVm1);
  ASSERT_EQ(backlog.whose_turn(), kVm1);
  while (backlog.goes_on(kVm1)) again.push_back(backlog.take(kVm1));
  EXPECT_THAT(again, ElementsAre(taken[1], taken[2]));
  EXPECT_EQ(backlog.whose_turn(), kVm2);
  for (rte_mbuf* const frame : taken) rte_pktmbuf_free(frame);
}

TEST_F(BacklogQueues, TriesThatFailGiveNobodyMore) {
  add(kVm1, 60, 1000);
  add(kVm2, 1500, 100);
  std::map<PortIndex, std::uint64_t> bytes;
  for (unsigned i = 0; i < 500; ++i) {  // each time a burst is tried, and one frame of it leaves
    const PortIndex from = backlog.whose_turn();
    std::vector<rte_mbuf*> burst;
    while (burst.size() < 32 && backlog.goes_on(from)) burst.push_back(backlog.take(from));
    bytes[from] += burst.front()->pkt_len;
    while (burst.size() > 1) {
      backlog.put_back(burst.back(), from);
      burst.pop_back();
    }
    rte_pktmbuf_free(burst.front());
  }
  EXPECT_NEAR(static_cast<double>(bytes[kVm1]), static_cast<double>(bytes[kVm2]), 2.0 * Backlog::kTurn);
}

TEST_F(BacklogQueues, ADebtIsNotForgivenToWhoHasNothingMoreForAMoment) {
  add(kVm2, 1000, 200);
  std::uint64_t of_first = 0, of_second = 0;
  for (unsigned i = 0; i < 4; ++i) {
    add(kVm1, 30'000, 1, 2000);  // again and again a super-frame, alone in its queue
    for (bool is_there = true; is_there;) {
      const PortIndex from = backlog.whose_turn();
      rte_mbuf* const frame = backlog.take(from);
      (from == kVm1 ? of_first : of_second) += wire_size(frame).bytes;
      is_there = from != kVm1;
      rte_pktmbuf_free(frame);
      ASSERT_LT(of_second, 200'000u) << "the first one starves";
    }
  }
  EXPECT_GT(of_second, of_first / 2);
}

}  // namespace
}  // namespace vmnat::test
