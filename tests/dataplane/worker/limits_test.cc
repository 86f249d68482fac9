// SPDX-License-Identifier: Apache-2.0
// Limits at a worker: what floods gets its rate exactly, and nobody else hears of it.
#include "dataplane/context/limits.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <numeric>
#include <optional>

#include "tests/support/guest_vms.h"

namespace vmnat::test {
namespace {

using namespace dataplane;
using std::chrono::microseconds;
namespace virtio = dataplane::virtio;

constexpr std::uint64_t kRate = 12'500'000, kBurst = 20'000;  // 100 Mbit/s

std::shared_ptr<Limit> limit_of(std::uint64_t bytes, std::uint64_t burst = kBurst,
                                std::uint64_t packets = 0) {
  return std::make_shared<Limit>(
      Limit::Rates{
          .bytes = {bytes, bytes == 0 ? 0 : burst}, .peak = {}, .packets = {packets, packets == 0 ? 0 : 32u}},
      Testbed::kTscHz, 0);
}

// What a test says of the ports, as control would publish it.
struct Table {
  std::shared_ptr<LimitTable> table = std::make_shared<LimitTable>();

  Table() {
    table->ports.resize(kPortCount);
    for (PortIndex port = 0; port < kPortCount; ++port) table->ports[port].network = port == kVm4 ? 1 : 0;
  }
  Limit* keep(std::shared_ptr<Limit> limit) { return table->all.emplace_back(std::move(limit)).get(); }
  void publish(Testbed& bed) const {
    bed.change_state([this](ForwardingState& state) {
      state.limits = table;
      for (PortIndex port = 1; port < kPortCount; ++port)
        state.ports[port].is_limited = table->ports[port].in.is_any();
    });
  }
};

TEST(Limit, FiftyMillisecondsOfItMayWait) {
  EXPECT_EQ(limit_of(kRate)->queue(), kRate / 20);
  EXPECT_EQ(limit_of(0, 0, 2000)->queue(), 100 * 1514u) << "full frames, of 2000 a second";
  EXPECT_EQ(limit_of(kRate, kBurst, 2000)->queue(), 100 * 1514u);
  EXPECT_EQ(limit_of(1000, kBurst, 10)->queue(), 65536u) << "a super-frame always may";
  EXPECT_GT(limit_of(0)->queue(), std::uint64_t{1} << 40) << "there is no limit";
  const auto one = limit_of(kRate), other = limit_of(kRate / 2);
  EXPECT_EQ((LimitsOneWay{.own = one.get(), .network = nullptr, .uplink = other.get()}.queue()), kRate / 40);
}

// VMs that flood from rings of their own; each has its frames there until they are taken.
struct LimitedOut : ::testing::Test {
  static constexpr std::uint16_t kRing = 256;

  LimitedOut() : bed(shape_of(ports)) {
    for (const PortIndex port : kVms) {
      guests.push_back(std::make_unique<FakeGuest>(virtio::kVersion1, 0, kRing));
      attach_sender(ports[port], *guests.back());
    }
  }
  static Bytes frame_of(unsigned vm, std::size_t bytes, const char* to = kServer) {
    return Packet()
        .from(vm_mac(static_cast<std::uint8_t>(vm + 1)), kVmAddresses[vm], 5000)
        .to(to == std::string_view{kServer} ? (vm == 3 ? kBlueMac : kRedMac) : vm_mac(2), to, 80)
        .udp()
        .payload(bytes - 42)
        .frame();
  }
  // From now on the VM's ring is full of this frame.
  void flood(unsigned vm, const Bytes& frame, const virtio::NetHeader& header = {}) {
    buffers[vm] = guests[vm]->place(with_header(header, frame));
    for (std::uint16_t head = 0; head < kRing; ++head) guests[vm]->offer(head, {*buffers[vm]});
  }
  // One turn, after which what was taken is there again.
  void turn(microseconds time) {
    bed.pass(time);
    for (unsigned vm = 0; vm < kVms.size(); ++vm)
      for (const auto& used : guests[vm]->used()) {
        ++taken[vm];
        if (buffers[vm]) guests[vm]->offer(static_cast<std::uint16_t>(used.head), {*buffers[vm]});
      }
    for (const Bytes& frame : bed.take(kUplink)) left += frame.size();
  }
  void turns(microseconds time, microseconds each = microseconds{20}) {
    for (microseconds passed{}; passed < time; passed += each) turn(each);
  }
  std::uint64_t received(PortIndex port) { return bed.worker(0).counters().ports[port].rx_bytes.get(); }
  // Bytes by VM.
  std::array<double, 4> shares() {
    std::array<double, 4> shares{};
    for (unsigned vm = 0; vm < 4; ++vm) shares[vm] = static_cast<double>(received(kVms[vm]));
    return shares;
  }

  std::array<VhostPort, kPortCount> ports;
  std::vector<std::unique_ptr<FakeGuest>> guests;
  std::array<std::optional<FakeGuest::Buffer>, 4> buffers;
  std::array<std::uint64_t, 4> taken{};
  std::uint64_t left = 0;  // bytes, by the uplink
  Testbed bed;
};

TEST_F(LimitedOut, AFloodGetsItsRateAndTheRestStaysInItsRing) {
  Table limits;
  limits.table->ports[kVm1].out.own = limits.keep(limit_of(kRate));
  limits.publish(bed);
  flood(0, frame_of(0, 1514));
  turns(std::chrono::seconds{2});
  EXPECT_NEAR(static_cast<double>(received(kVm1)), 2.0 * kRate + kBurst, 1514 + 1);
  EXPECT_EQ(left, received(kVm1)) << "all that came goes out";
  EXPECT_GT(bed.worker(0).counters().ports[kVm1].limited_out.get(), 1000u);
  for (const auto& [name, count] : bed.counts())
    EXPECT_FALSE(name.starts_with("drop.")) << name << ' ' << count;
  EXPECT_TRUE(bed.is_balanced());
}

TEST_F(LimitedOut, ShortFramesAndLongTurnsAreAsExact) {
  Table limits;
  limits.table->ports[kVm1].out.own = limits.keep(limit_of(kRate));
  limits.publish(bed);
  flood(0, frame_of(0, 60));
  turns(std::chrono::seconds{1}, microseconds{30});  // 6 frames each
  EXPECT_GE(received(kVm1), kRate);  // some of the burst is left: a poll takes as many as long ones would be
  EXPECT_LE(received(kVm1), kRate + kBurst + 1514);
}

TEST_F(LimitedOut, SuperFramesAreChargedForTheirSegmentsHeaders) {
  Table limits;
  Limit& limit = *limits.keep(limit_of(kRate));
  limits.table->ports[kVm1].out.own = &limit;
  limits.publish(bed);
  const virtio::NetHeader in_segments{.flags = virtio::NetHeader::kNeedsChecksum,
                                      .segmentation = virtio::NetHeader::kTcp4,
                                      .headers_length = 54,
                                      .segment_size = 100,
                                      .checksum_start = 34,
                                      .checksum_offset = 16};
  const Packet tcp = Packet().from(vm_mac(1), kVmAddresses[0], 5000).to(kRedMac, kServer, 80);
  flood(0, Packet{tcp}.tcp(net::TcpHeader::kSyn).frame());
  turn(microseconds{1});
  buffers[0].reset();
  turns(std::chrono::milliseconds{200});  // all of the ring has come
  const auto before = left;
  flood(0, Packet{tcp}.tcp(net::TcpHeader::kAck).payload(1500).frame(), in_segments);
  turns(std::chrono::seconds{2});
  // Each is 1554 bytes in the ring, and 15 frames of 154 on the wire.
  EXPECT_NEAR(static_cast<double>(left - before), 2.0 * kRate + kBurst, 32 * 15 * 154) << "what has left";
  EXPECT_GT(bed.counts().at("generated"), 10'000u) << "they were segmented";
}

TEST_F(LimitedOut, PacketsAreCountedWhereTheyAreLimited) {
  Table limits;
  limits.table->ports[kVm1].out.own = limits.keep(limit_of(0, 0, 5000));
  limits.publish(bed);
  flood(0, frame_of(0, 60));
  turns(std::chrono::seconds{1});
  EXPECT_NEAR(static_cast<double>(taken[0]), 5000 + 32, 2);
}

TEST_F(LimitedOut, WhoIsHeldCostsOthersNothing) {
  Table limits;
  limits.table->ports[kVm1].out.own = limits.keep(limit_of(100'000, 3000));
  limits.publish(bed);
  flood(0, frame_of(0, 1514));
  turns(std::chrono::milliseconds{50});
  ASSERT_LT(received(kVm1), 20'000u);
  for (unsigned i = 0; i < 100; ++i) {  // vm2's frames go in the poll that finds them
    guests[1]->offer(static_cast<std::uint16_t>(i),
                     {guests[1]->place(Bytes(12))});  // a runt: received, at least
    turn(microseconds{20});
    EXPECT_EQ(bed.worker(0).counters().ports[kVm2].rx_packets.get(), i + 1u);
  }
}

TEST_F(LimitedOut, ALimitThatIsTakenAwayOrChangedHoldsFromTheNextPollOn) {
  Table limits;
  limits.table->ports[kVm1].out.own = limits.keep(limit_of(kRate));
  limits.publish(bed);
  flood(0, frame_of(0, 1514));
  turns(std::chrono::milliseconds{500});
  const auto at_first = received(kVm1);
  EXPECT_NEAR(static_cast<double>(at_first), 0.5 * kRate + kBurst, 1514);
  Table slower;
  slower.table->ports[kVm1].out.own = slower.keep(std::make_shared<Limit>(
      Limit::Rates{.bytes = {kRate / 10, 3000}, .peak = {}, .packets = {}}, Testbed::kTscHz, bed.tsc()));
  slower.publish(bed);
  turns(std::chrono::milliseconds{500});
  EXPECT_NEAR(static_cast<double>(received(kVm1) - at_first), 0.05 * kRate + 3000, 1514);
  bed.change_state([](ForwardingState& state) { state.limits = nullptr; });
  const auto before = received(kVm1);
  turns(microseconds{2000});
  EXPECT_EQ(received(kVm1) - before, 100u * dataplane::kBurstSize * 1514) << "a burst in each turn";
}

// Four VMs share 100 Mbit/s.
TEST_F(LimitedOut, OfASharedLimitFloodsGetEvenPartsByBytesWhateverTheirFramesAre) {
  Table limits;
  Limit* const shared = limits.keep(limit_of(kRate));
  for (const PortIndex port : kVms) limits.table->ports[port].out.uplink = shared;
  limits.publish(bed);
  const std::size_t kSizes[] = {1514, 100, 700, 1514};
  for (unsigned vm = 0; vm < 4; ++vm) flood(vm, frame_of(vm, kSizes[vm]));
  turns(std::chrono::seconds{4});
  const auto got = shares();
  const double all = std::accumulate(got.begin(), got.end(), 0.0);
  EXPECT_NEAR(all, 4.0 * kRate + kBurst, 4 * (6250 + 1514)) << "each one's turn may be a debt";
  for (unsigned vm = 0; vm < 4; ++vm) EXPECT_NEAR(got[vm] / all, 0.25, 0.0125) << vm;
  EXPECT_EQ(left, static_cast<std::uint64_t>(all)) << "all that came goes out";
}

TEST_F(LimitedOut, WhoWantsLessThanHisPartHasItAtOnce) {
  Table limits;
  Limit* const shared = limits.keep(limit_of(kRate));
  for (const PortIndex port : kVms) limits.table->ports[port].out.network = shared;
  for (const PortIndex port : kVms) limits.table->ports[port].network = 0;
  limits.publish(bed);
  flood(0, frame_of(0, 1514));
  const FakeGuest::Buffer quiet = [&] {
    Bytes bytes(sizeof(virtio::NetHeader));
    const Bytes frame = frame_of(1, 1000);
    bytes.insert(bytes.end(), frame.begin(), frame.end());
    return guests[1]->place(bytes);
  }();
  unsigned longest = 0, offered = 0;
  for (unsigned i = 0; i < 2000; ++i) {  // a frame each millisecond: 8 Mbit/s
    guests[1]->offer(static_cast<std::uint16_t>(offered++ % kRing), {quiet});
    unsigned waited = 0;
    for (unsigned t = 0; t < 50; ++t) {
      if (taken[1] < offered) ++waited;
      turn(microseconds{20});
    }
    longest = std::max(longest, waited);
    ASSERT_EQ(taken[1], offered) << "after " << i << " ms";
  }
  EXPECT_LE(longest, 40u) << "turns of 20 us";  // the other one's turn is half a millisecond
  EXPECT_NEAR(static_cast<double>(received(kVm1) + received(kVm2)), 2.0 * kRate + kBurst, 2 * 1514);
}

TEST_F(LimitedOut, WhatStaysOnTheNetworkIsNotTheUplinks) {
  Table limits;
  Limit* const shared = limits.keep(limit_of(kRate / 100, 3000));
  for (const PortIndex port : kVms) limits.table->ports[port].out.uplink = shared;
  limits.publish(bed);
  for (unsigned vm = 0; vm < 3; ++vm) bed.learn(kVms[vm], vm_mac(static_cast<std::uint8_t>(vm + 1)));
  limits.publish(bed);
  flood(0, frame_of(0, 1514, kVmAddresses[1]));
  flood(2, frame_of(2, 1514));
  turns(std::chrono::milliseconds{100});
  EXPECT_GE(received(kVm1), 5000u * 1514) << "in each turn";
  EXPECT_NEAR(static_cast<double>(received(kVm3)), 0.001 * kRate + 3000, 2 * 3028 + 1514);
}

// --- towards VMs ----------------------------------------------------------------------------------------------------

struct LimitedIn : ::testing::Test {
  LimitedIn() : bed(Testbed::Shape{}) {}

  // The VM asks; from now on the server may answer.
  void open(unsigned vm) {
    bed.exchange(kVms[vm], Packet()
                               .from(vm_mac(static_cast<std::uint8_t>(vm + 1)), kVmAddresses[vm],
                                     static_cast<std::uint16_t>(5000 + vm))
                               .to(vm == 3 ? kBlueMac : kRedMac, kServer, 80)
                               .udp()
                               .frame());
    bed.take(kUplink);
  }
  static Bytes answer(unsigned vm, std::size_t bytes = 1514) {
    return Packet()
        .from(kRouterMac, kServer, 80)
        .to(kUplinkMac, kExternal, static_cast<std::uint16_t>(5000 + vm))
        .udp()
        .payload(bytes - 42)
        .frame();
  }
  // So many answers for the VM, then a poll.
  void turn(microseconds time, std::initializer_list<unsigned> vms) {
    for (const unsigned vm : vms) bed.put(kUplink, answers[vm]);
    bed.pass(time);
    for (unsigned vm = 0; vm < 4; ++vm)
      for (const Bytes& frame : bed.take(kVms[vm])) got[vm] += frame.size();
  }
  std::uint64_t held() { return bed.worker(0).counters().limits_held.get(); }

  Testbed bed;
  std::array<Bytes, 4> answers{answer(0), answer(1), answer(2), answer(3)};
  std::array<std::uint64_t, 4> got{};
};

TEST_F(LimitedIn, AFloodComesAtItsRateThroughABoundedQueueAndTheRestIsCounted) {
  Table limits;
  limits.table->ports[kVm1].in.own = limits.keep(limit_of(kRate));
  open(0);
  open(1);
  limits.publish(bed);
  for (unsigned i = 0; i < 20'000; ++i) {  // 3 frames each 100 us: 363 Mbit/s, for 2 s
    turn(microseconds{100}, {0, 0, 0});
    ASSERT_LE(held(), kRate / 20 / 1514 + 1) << "50 ms of it";
  }
  EXPECT_NEAR(static_cast<double>(got[0]), 2.0 * kRate + kBurst, 1514 + 1);
  const Counts counts = bed.counts();
  EXPECT_EQ(counts.at("drop.rate_limit") + counts.at("limits.held") + counts.at("vm1.tx"), 60'000u);
  EXPECT_GT(bed.worker(0).counters().ports[kVm1].limited_in.get(), 10'000u);
  EXPECT_EQ(bed.worker(0).counters().ports[kVm1].limited_dropped.get(), counts.at("drop.rate_limit"));
  EXPECT_TRUE(bed.is_balanced());
  turn(microseconds{1}, {1});
  EXPECT_EQ(got[1], 1514u) << "another VM's frame does not wait";
  for (unsigned i = 0; i < 100; ++i) turn(microseconds{1000}, {});
  EXPECT_EQ(held(), 0u);
  EXPECT_TRUE(bed.is_balanced());
}

TEST_F(LimitedIn, FramesKeepTheirOrder) {
  Table limits;
  limits.table->ports[kVm1].in.own = limits.keep(limit_of(kRate, 3000));
  open(0);
  limits.publish(bed);
  for (unsigned i = 0; i < 30; ++i)
    bed.put(kUplink, Packet()
                         .from(kRouterMac, kServer, 80)
                         .to(kUplinkMac, kExternal, 5000)
                         .udp()
                         .identification(static_cast<std::uint16_t>(i + 1))
                         .payload(1000)
                         .frame());
  std::vector<unsigned> seen;
  for (unsigned i = 0; i < 400; ++i) {
    bed.pass(microseconds{10});
    for (const Bytes& frame : bed.take(kVm1)) seen.push_back(std::to_integer<unsigned>(frame[19]));
  }
  ASSERT_EQ(seen.size(), 30u);
  EXPECT_TRUE(std::ranges::is_sorted(seen));
}

TEST_F(LimitedIn, WhatTheGatewayItselfHasToSayGoesFirst) {
  Table limits;
  limits.table->ports[kVm1].in.own = limits.keep(limit_of(125'000, 3000));
  open(0);
  limits.publish(bed);
  for (unsigned i = 0; i < 200; ++i) turn(microseconds{100}, {0});
  ASSERT_GT(held(), 30u);
  bed.put(kVm1, arp(net::ArpOperation::Request, vm_mac(1), kVmAddresses[0], {}, "192.168.122.1",
                    net::kBroadcastMac));
  unsigned before = 0;
  for (bool is_there = false; !is_there; ++before) {
    ASSERT_LT(before, 100u);
    bed.pass(microseconds{1000});
    for (const Bytes& frame : bed.take(kVm1)) is_there |= frame.size() < 100;
  }
  EXPECT_LE(before, 25u) << "two full frames' time at 1 Mbit/s";
}

TEST_F(LimitedIn, WhoeverGoesLeavesNothingBehind) {
  Table limits;
  limits.table->ports[kVm1].in.own = limits.keep(limit_of(125'000, 3000));
  open(0);
  limits.publish(bed);
  const std::size_t free = bed.free_buffers();
  for (unsigned i = 0; i < 200; ++i) turn(microseconds{100}, {0});
  ASSERT_GT(held(), 30u);
  bed.change_state([](ForwardingState& state) { state.ports[kVm1].up = false; });
  turn(microseconds{1}, {});
  EXPECT_EQ(held(), 0u);
  EXPECT_GT(bed.counts().at("drop.port_down"), 30u);
  EXPECT_TRUE(bed.is_balanced());
  EXPECT_EQ(bed.free_buffers(), free);
}

TEST_F(LimitedIn, WithoutALimitAllThatWaitsGoes) {
  Table limits;
  limits.table->ports[kVm1].in.own = limits.keep(limit_of(125'000, 3000));
  open(0);
  limits.publish(bed);
  for (unsigned i = 0; i < 40; ++i) turn(microseconds{100}, {0});
  const auto waiting = held();
  ASSERT_GT(waiting, 30u);
  got = {};
  bed.change_state([](ForwardingState& state) {
    state.limits = nullptr;
    state.ports[kVm1].is_limited = false;
  });
  turn(microseconds{1}, {});
  EXPECT_EQ(got[0], waiting * 1514);
  EXPECT_EQ(held(), 0u);
}

TEST_F(LimitedIn, OfASharedLimitAFloodLeavesTheOthersTheirParts) {
  Table limits;
  Limit* const shared = limits.keep(limit_of(kRate));
  for (const PortIndex port : kVms) limits.table->ports[port].in.uplink = shared;
  for (unsigned vm = 0; vm < 4; ++vm) open(vm);
  limits.publish(bed);
  answers[2] = answer(2, 600);
  for (unsigned i = 0; i < 20'000;
       ++i)  // each wants more than a quarter of 100 Mbit/s, vm1 ten times as much
    turn(microseconds{100}, {0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 2, 3});
  const double all = static_cast<double>(got[0] + got[1] + got[2] + got[3]);
  EXPECT_NEAR(all, 2.0 * kRate + kBurst, 4 * 1514);
  for (unsigned vm = 0; vm < 4; ++vm) EXPECT_NEAR(static_cast<double>(got[vm]) / all, 0.25, 0.0125) << vm;
  EXPECT_TRUE(bed.is_balanced());
}

TEST_F(LimitedIn, NobodysQueueTakesTheBuffersOfTheOthers) {
  Table limits;
  for (const PortIndex port : kVms)
    limits.table->ports[port].in.own = limits.keep(limit_of(125'000'000, 3000));
  for (unsigned vm = 0; vm < 4; ++vm) open(vm);
  limits.publish(bed);
  bed.pass(microseconds{1});
  // At one moment: 4000 for vm1, then some for each.
  for (unsigned i = 0; i < 4000; i += 50) {
    for (unsigned j = 0; j < 50; ++j) bed.put(kUplink, answers[0]);
    bed.poll();
    bed.poll();
    bed.take(kVm1);
  }
  EXPECT_LE(held(), 1024u);
  const auto with_one = held();
  for (const unsigned vm : {1u, 2u, 3u})
    for (unsigned i = 0; i < 40; ++i) bed.put(kUplink, answers[vm]);
  for (unsigned i = 0; i < 10; ++i) bed.poll();
  EXPECT_GE(held(), with_one + 3 * 30) << "they have places";
  for (unsigned i = 0; i < 1000; ++i) turn(microseconds{100}, {});
  EXPECT_EQ(held(), 0u);
  EXPECT_TRUE(bed.is_balanced());
}

// --- several workers -----------------------------------------------------------------------------------------------

TEST(LimitsOfWorkers, WhatSeveralShareIsExact) {
  Testbed bed(Testbed::Shape{.workers = 2});
  Table limits;
  Limit* const shared = limits.keep(limit_of(kRate));
  for (const PortIndex port : kVms) limits.table->ports[port].out.uplink = shared;
  limits.publish(bed);
  const Bytes frames[] = {LimitedOut::frame_of(0, 1514), LimitedOut::frame_of(1, 1514)};
  std::uint64_t put[2] = {};
  const auto taken = [&](PortIndex port) {
    return bed.worker(0).counters().ports[port].rx_packets.get() +
           bed.worker(1).counters().ports[port].rx_packets.get();
  };
  for (unsigned i = 0; i < 20'000; ++i) {  // 2 s
    for (unsigned vm = 0; vm < 2; ++vm)
      for (; put[vm] - taken(kVms[vm]) < 64; ++put[vm]) bed.put(kVms[vm], frames[vm]);
    bed.pass(microseconds{100});
    bed.take(kUplink);
  }
  const double all = static_cast<double>(taken(kVm1) + taken(kVm2)) * 1514;
  EXPECT_NEAR(all, 2.0 * kRate + kBurst, 2.0 * dataplane::kBurstSize * 1514)
      << "a burst of each worker at most";
}

}  // namespace
}  // namespace vmnat::test
