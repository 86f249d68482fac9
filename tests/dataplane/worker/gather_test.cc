// SPDX-License-Identifier: Apache-2.0
// Frames of several guests that go through the pipeline in one burst: each stays its own port's, whatever the others are.
#include <gtest/gtest.h>

#include "dataplane/device/offload.h"
#include "tests/support/guest_vms.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using dataplane::VhostPort;
namespace virtio = dataplane::virtio;

struct Gathering : ::testing::Test {
  Gathering() : bed(shape_of(ports)) {
    for (unsigned vm = 0; vm < kVms.size(); ++vm) attach_sender(ports[kVms[vm]], guests[vm]);
  }
  [[nodiscard]] static Packet packet(unsigned vm) {
    return Packet()
        .from(vm_mac(static_cast<std::uint8_t>(vm + 1)), kVmAddresses[vm], 5000)
        .to(vm == 3 ? kBlueMac : kRedMac, kServer, 80)
        .udp();
  }
  void send(unsigned vm, const Bytes& frame, const virtio::NetHeader& header = {}) {
    guests[vm].offer(static_cast<std::uint16_t>(sent[vm]++ % FakeGuest::kSize),
                     {guests[vm].place(with_header(header, frame))});
  }

  std::array<VhostPort, kPortCount> ports;
  std::array<FakeGuest, kVms.size()> guests;
  std::array<unsigned, kVms.size()> sent{};
  Testbed bed;
};

TEST_F(Gathering, EachFrameIsItsOwnPortsAndNetworks) {
  for (unsigned vm = 0; vm < kVms.size(); ++vm) {
    send(vm, packet(vm).frame());
    send(vm, packet(vm).ttl(1).frame());
    send(vm, packet(vm == 3 ? 0 : 3)
                 .frame());  // in the name of a VM of the other network, to a MAC that is not its gateway's
  }
  bed.poll();
  const Counts counts = bed.counts();
  EXPECT_EQ(counts.at("uplink.tx"), 4u);
  for (const char* vm : {"vm1", "vm2", "vm3", "vm4"}) EXPECT_EQ(counts.at(std::string(vm) + ".rx"), 3u);
  for (const PortIndex port : kVms) {
    const auto& drops = bed.worker(0).counters().ports[port].drops;
    EXPECT_EQ(drops[dataplane::index_of(DropReason::TtlExpired)].get(), 1u) << port;
  }
  for (const Bytes& frame : bed.take(kUplink)) EXPECT_EQ(frame.size(), 60u);
  bed.run();
  EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts());
  std::map<PortIndex, unsigned> sessions;
  for (unsigned vm = 0; vm < kVms.size(); ++vm) {
    const auto internal =
        net::Endpoint{net::parse_ipv4(kVmAddresses[vm]).value(), net::L4Port::from_host(5000)};
    const auto remote = net::Endpoint{net::parse_ipv4(kServer).value(), net::L4Port::from_host(80)};
    auto& table = const_cast<conntrack::Conntrack&>(bed.worker(0).conntrack());
    const auto* session = table.find(dataplane::FlowKey::of(internal, remote, net::Protocol::Udp));
    ASSERT_NE(session, nullptr) << vm;
    EXPECT_EQ(session->vm_port(), kVms[vm]);
    EXPECT_EQ(session->policy(), vm == 3 ? 1 : 0);
  }
}

TEST_F(Gathering, WhoseFramesMakeMuchWorkPaysAloneForWhatWentTogether) {
  const virtio::NetHeader in_segments{.flags = virtio::NetHeader::kNeedsChecksum,
                                      .segmentation = virtio::NetHeader::kTcp4,
                                      .headers_length = 54,
                                      .segment_size = 64,
                                      .checksum_start = 34,
                                      .checksum_offset = 16};
  const Bytes opening = packet(0).tcp(net::TcpHeader::kSyn).frame();
  send(0, opening);
  bed.poll();
  const Bytes large = packet(0).tcp(net::TcpHeader::kAck).payload(16'000).frame();
  for (unsigned i = 0; i < 4; ++i) send(0, large, in_segments);
  send(1, packet(1).frame());
  bed.poll();
  bed.take(kUplink);
  EXPECT_EQ(bed.counts()["vm1.rx"], 5u);
  for (unsigned poll = 0; poll < 4; ++poll) {
    send(0, packet(0).frame());
    send(1, packet(1).frame());
    bed.poll();
    bed.take(kUplink);
  }
  EXPECT_EQ(bed.counts()["vm2.rx"], 5u) << "it has its turn in each poll";
  EXPECT_EQ(bed.counts()["vm1.rx"], 5u) << "its segments are not paid for yet";
  EXPECT_EQ(bed.worker(0).counters().receive_deferred.get(), 4u);
}

// Of one port with many queues, which alone is polled.
struct GatheringOfQueues : Gathering {
  void poll(const std::vector<FakeGuest*>& all) {
    std::vector<dataplane::ReceiveQueue> queues;
    for (std::uint16_t queue = 0; queue < all.size(); ++queue) {
      port.queue(2u * queue + 1) = all[queue]->queue();
      port.set_enabled(2u * queue + 1, true);
      queues.push_back({.device = {.vhost = &port}, .queue_id = queue, .port = kVm1, .pool = packet_pool()});
    }
    port.attach(virtio::kVersion1);
    port.resume(VhostPort::kDrivenHere);
    bed.change_state([&](dataplane::ForwardingState& state) {
      state.polled = {
          std::make_shared<dataplane::PollSet>(queues, dataplane::Sharers{.ports = 6, .guests = 1})};
    });
    bed.poll();
  }
  static void offer(FakeGuest& guest, const virtio::NetHeader& header, std::uint16_t times = 1) {
    const FakeGuest::Buffer buffer = guest.place(with_header(header, packet(0).frame()));
    for (std::uint16_t i = 0; i < times; ++i) guest.offer(i, {buffer});
  }
  VhostPort port;
};

TEST_F(GatheringOfQueues, WhoHasManyFramesGetsHalfABurstAtLeastBehindManyThatHaveOne) {
  std::array<FakeGuest, 31> others;
  FakeGuest bulk(virtio::kVersion1, 0, 64);
  std::vector<FakeGuest*> all;
  for (FakeGuest& guest : others) {
    offer(guest, {});
    all.push_back(&guest);
  }
  offer(bulk, {}, 32);
  all.push_back(&bulk);
  poll(all);
  EXPECT_GE(bulk.used().size(), 16u);
  for (FakeGuest& guest : others) EXPECT_EQ(guest.used().size(), 1u);
  EXPECT_EQ(bed.take(kUplink).size(), bed.counts()["vm1.rx"]);
}

// Frames that leave the burst before it has gone its way make room for others, not for more queues.
TEST_F(GatheringOfQueues, ManyWithNothingButBadClaimsFillNoBurstAndBreakNothing) {
  std::array<FakeGuest, VhostPort::kMostQueues> many;
  std::vector<FakeGuest*> all;
  for (FakeGuest& guest : many) {
    offer(guest, {.flags = virtio::NetHeader::kNeedsChecksum, .checksum_start = 60'000});
    all.push_back(&guest);
  }
  poll(all);
  EXPECT_EQ(bed.counts()["vm1.rx"], many.size());
  EXPECT_EQ(bed.counts()["drop.offload"], many.size());
  EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts());
  EXPECT_EQ(many.back().used().size(), 1u);
}

}  // namespace
}  // namespace vmnat::test
