// SPDX-License-Identifier: Apache-2.0
// Frames of VLAN 0 are read as untagged: what comes out is what comes out for the same frame without its
// tags.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/fragment_builder.h"
#include "tests/support/tags.h"
#include "tests/support/testbed.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using net::ArpOperation;
using net::TcpHeader;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Tags = std::vector<unsigned>;
const Tags kPlain{0x81, 0, 0, 0}, kPriority5{0x81, 0, 0xa0, 0}, kService{0x88, 0xa8, 0x60, 0},
    kTwo{0x88, 0xa8, 0, 0, 0x81, 0, 0x20, 0}, kVlan7Within{0x81, 0, 0, 0, 0x81, 0, 0, 7};

Bytes outbound() {
  return Packet().from(vm_mac(1), kVm1Address, 40000).to(kRedMac, kServer, 53).udp().frame();
}
Bytes inbound() {
  return Packet().from(kRouterMac, kServer, 53).to(kUplinkMac, kExternal, 40000).udp().frame();
}

struct Given {
  const char* says;
  PortIndex by;
  Bytes frame;
};

std::vector<Given> frames() {
  return {
      {"a VM's datagram", kVm1, outbound()},
      {"the answer", kUplink, inbound()},
      {"a VM's first fragment", kVm1, piece(outbound(), 0, 16)},
      {"a VM asks for the gateway", kVm1,
       arp(ArpOperation::Request, vm_mac(1), kVm1Address, {}, "192.168.122.1", net::kBroadcastMac)},
      {"the router asks for us", kUplink,
       arp(ArpOperation::Request, kRouterMac, "203.0.113.1", {}, kExternal, net::kBroadcastMac)},
      {"the router answers", kUplink,
       arp(ArpOperation::Reply, kRouterMac, "203.0.113.1", kUplinkMac, kExternal, kUplinkMac)},
      {"a VM asks for a lease", kVm1,
       Packet().from(vm_mac(1), "0.0.0.0", 68).to(net::kBroadcastMac, "255.255.255.255", 67).udp().frame()},
      {"between VMs", kVm1,
       Packet().from(vm_mac(1), kVm1Address, 1).to(vm_mac(2), "192.168.122.11", 2).udp().frame()},
      {"to all VMs", kVm1,
       Packet().from(vm_mac(1), kVm1Address, 1).to(net::kBroadcastMac, "192.168.122.255", 2).udp().frame()}};
}

// All that one testbed sends and punts for a frame.
using Outcome = std::vector<std::vector<Bytes>>;

class PriorityTag : public ::testing::Test {
 protected:
  static void learn_all(Testbed& bed) {
    bed.learn(kVm1, vm_mac(1));
    bed.learn(kVm2, vm_mac(2));
  }
  static Outcome outcome(Testbed& bed) {
    Outcome seen{bed.take_punted()};
    for (PortIndex port = 0; port < kPortCount; ++port) seen.push_back(bed.take(port));
    return seen;
  }
};

TEST_F(PriorityTag, ChangesNothing) {
  for (const Tags& tags : {kPlain, kPriority5, kService, kTwo}) {
    Testbed bed, untagged;
    learn_all(bed);
    learn_all(untagged);
    for (const Given& given : frames()) {
      bed.exchange(given.by, tagged(given.frame, tags));
      untagged.exchange(given.by, given.frame);
      EXPECT_EQ(outcome(bed), outcome(untagged)) << given.says << " with " << ::testing::PrintToString(tags);
    }
    EXPECT_EQ(bed.counts(), untagged.counts()) << ::testing::PrintToString(tags);
    EXPECT_TRUE(bed.is_balanced());
  }
}

TEST_F(PriorityTag, BesideTheFrameIsTheSame) {
  Testbed bed, untagged;
  learn_all(bed);
  learn_all(untagged);
  for (const Given& given : frames()) {
    rte_mbuf* frame = buffer_of(given.frame);
    frame->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
    frame->vlan_tci = 0xa000;
    bed.put(given.by, frame);
    bed.run();
    untagged.exchange(given.by, given.frame);
    EXPECT_EQ(outcome(bed), outcome(untagged)) << given.says;
  }
}

TEST_F(PriorityTag, AVlanBehindItIsAVlan) {
  Testbed bed;
  bed.exchange(kVm1, tagged(outbound(), kVlan7Within));
  bed.exchange(kUplink, tagged(inbound(), kVlan7Within));
  EXPECT_EQ(bed.dropped(DropReason::VlanTagged), 2u);
}

TEST_F(PriorityTag, AtTheFramesEndIsReadNoFurther) {
  Testbed bed;
  for (const std::size_t length : {14u, 15u, 17u, 18u, 20u}) {
    Bytes frame = tagged(outbound(), kPlain);
    frame.resize(length);
    bed.exchange(kVm1, frame);
  }
  EXPECT_THAT(bed.take(kUplink), IsEmpty());
  EXPECT_EQ(bed.dropped(DropReason::VlanTagged), 3u) << "no room for a tag";
  EXPECT_EQ(bed.dropped(DropReason::IpHeader), 2u) << "nothing behind it";
  EXPECT_TRUE(bed.is_balanced());
}

TEST_F(PriorityTag, OfASuperFrameIsTakenOffWithItsHeadersKnown) {
  Testbed bed;
  bed.exchange(kVm1, Packet()
                         .from(vm_mac(1), kVm1Address, 40000)
                         .to(kRedMac, kServer, 80)
                         .payload(0)
                         .tcp(TcpHeader::kSyn)
                         .frame());
  bed.take(kUplink);
  const Bytes frame = Packet()
                          .from(vm_mac(1), kVm1Address, 40000)
                          .to(kRedMac, kServer, 80)
                          .payload(4'000)
                          .tcp(TcpHeader::kAck)
                          .frame();
  bed.put_unfinished(kVm1, tagged(frame, kPriority5), 1000);
  bed.run();
  const auto sent = bed.take(kUplink);
  ASSERT_THAT(sent, SizeIs(4));
  for (const Bytes& segment : sent) {
    EXPECT_EQ(segment.size(), 14u + 20 + 20 + 1000);
    EXPECT_TRUE(has_good_checksums(segment));
  }
  EXPECT_TRUE(bed.is_balanced());
}

}  // namespace
}  // namespace vmnat::test
