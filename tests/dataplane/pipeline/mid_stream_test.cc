// SPDX-License-Identifier: Apache-2.0
// TCP without a session that is no SYN: answered by a RST, dropped, or picked up (nat.tcp_mid_stream).
#include "tests/support/fixture.h"
#include "tests/support/session_views.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using dataplane::ForwardingState;
using dataplane::InsideHost;
using dataplane::WordTable;
using net::TcpHeader;
using ::testing::IsEmpty;

constexpr std::uint8_t kAck = TcpHeader::kAck, kSyn = TcpHeader::kSyn, kRst = TcpHeader::kRst,
                       kFin = TcpHeader::kFin;
constexpr std::uint32_t kSequence = 0xffff'fff0, kAcknowledged = 0x0102'0304;

Packet segment(std::uint8_t flags) {
  return Packet()
      .from(vm_mac(1), kVm1Address, 40000)
      .to(kRedMac, kServer, 443)
      .tcp(flags)
      .sequence(kSequence)
      .acknowledgment(kAcknowledged);
}

const TcpHeader& tcp(const Bytes& frame) {
  return *net::view<TcpHeader>(frame, 34);
}

class MidStream : public OnTestbed {
 protected:
  void SetUp() override {
    OnTestbed::SetUp();
    bed.change_state([](ForwardingState& state) { state.networks[0].resets_mid_stream = true; });
  }
};

// RFC 9293 section 3.10.7.1, CLOSED.
TEST_F(MidStream, IsAnsweredByAResetInTheRemotesName) {
  const struct {
    const char* says;
    std::uint8_t flags;
    std::size_t payload;
    std::uint8_t answer;
    std::uint32_t sequence, acknowledged;
  } kRows[] = {{"an ACK", kAck, 0, kRst, kAcknowledged, 0},
               {"data", kAck, 100, kRst, kAcknowledged, 0},
               {"a FIN", kFin | kAck, 0, kRst, kAcknowledged, 0},
               {"a SYN ACK", kSyn | kAck, 0, kRst, kAcknowledged, 0},
               {"data without ACK", 0, 100, kRst | kAck, 0, kSequence + 100},
               {"SYN and FIN with data", kSyn | kFin, 5, kRst | kAck, 0, kSequence + 7}};
  for (const auto& row : kRows) {
    SCOPED_TRACE(row.says);
    const Bytes sent = segment(row.flags).payload(row.payload).frame();
    bed.exchange(kVm1, sent);
    const Bytes reset = only(bed.take(kVm1));
    EXPECT_EQ(ethernet(reset).destination, vm_mac(1));
    EXPECT_EQ(ethernet(reset).source, kRedMac);
    EXPECT_EQ(source_of(reset), destination_of(sent));
    EXPECT_EQ(destination_of(reset), source_of(sent));
    EXPECT_EQ(tcp(reset).flags, row.answer);
    EXPECT_EQ(tcp(reset).sequence.host(), row.sequence);
    EXPECT_EQ(tcp(reset).acknowledgment.host(), row.acknowledged);
    EXPECT_EQ(ip(reset).total_length.host(), 40);
    EXPECT_EQ(ip(reset).ttl, 64);
    EXPECT_TRUE(ip(reset).dont_fragment());
    EXPECT_TRUE(has_good_checksums(reset));
  }
  EXPECT_THAT(bed.take(kUplink), IsEmpty());
  EXPECT_EQ(bed.dropped(DropReason::TcpNotSyn), std::size(kRows)) << "dropped all the same";
  EXPECT_EQ(bed.counts()["generated"], std::size(kRows));
}

TEST_F(MidStream, IsAnsweredWhenItsChecksumIsLeftToUs) {
  bed.put_unfinished(kVm1, segment(kAck).payload(3000).frame(), 1448);
  bed.run();
  EXPECT_EQ(tcp(only(bed.take(kVm1))).sequence.host(), kAcknowledged);
}

TEST_F(MidStream, IsNotAnsweredWhereNoneMayBe) {
  bed.exchange(kVm1, segment(kRst).frame());
  bed.exchange(kVm1, segment(kRst | kAck).frame());
  bed.exchange(kVm1, segment(kAck).payload(64).fragment(0x2000).frame());  // a first fragment
  bed.exchange(kVm1, segment(kAck).from(vm_mac(1), "192.168.5.10", 9).frame());
  bed.exchange(kVm1, segment(kAck).to(net::kBroadcastMac, kServer, 443).frame());
  bed.exchange(kVm1, segment(kAck).to(kRedMac, "224.0.0.9", 443).frame());
  EXPECT_THAT(bed.take(kVm1), IsEmpty());
  EXPECT_EQ(bed.counts()["generated"], 0u);
}

TEST_F(MidStream, FromOutsideIsDroppedInSilence) {
  bed.change_state([](ForwardingState& state) {
    set_forwards(state, {{net::Protocol::Tcp, 8080, endpoint(kVm1Address, 80)}});
    state.networks[0].hosts =
        WordTable<InsideHost>({{net::parse_ipv4(kVm1Address)->raw(), {.mac = vm_mac(1), .port = kVm1}}});
  });
  for (const std::uint16_t port : {8080, 40000})
    bed.exchange(kUplink,
                 Packet().from(kRouterMac, kServer, 443).to(kUplinkMac, kExternal, port).tcp(kAck).frame());
  EXPECT_THAT(bed.take(kUplink), IsEmpty());
  EXPECT_EQ(bed.dropped(DropReason::TcpNotSyn), 1u);
  EXPECT_EQ(bed.dropped(DropReason::NoSession), 1u);
}

TEST_F(MidStream, SharesTheBudgetOfIcmpErrors) {
  for (unsigned i = 0; i < 60; ++i) {
    bed.put(kVm1, i % 2 == 0 ? segment(kAck).frame() : segment(kAck).ttl(1).frame());
    if (i % 16 == 0) bed.run();
  }
  bed.run();
  EXPECT_EQ(bed.take(kVm1).size(), 20u);
  EXPECT_EQ(bed.counts()["tcp_resets.suppressed"] + bed.counts()["icmp_errors.suppressed"], 40u);
  EXPECT_GT(bed.counts()["tcp_resets.suppressed"], 0u);
}

TEST(MidStreamDropped, TellsNobody) {
  Testbed bed;
  bed.exchange(kVm1, segment(kAck).frame());
  EXPECT_THAT(bed.take(kVm1), IsEmpty());
  EXPECT_EQ(bed.dropped(DropReason::TcpNotSyn), 1u);
}

class MidStreamPickedUp : public OnTestbed {
 protected:
  MidStreamPickedUp() : OnTestbed({.mid_stream = conntrack::MidStream::PickUp}) {}
};

TEST_F(MidStreamPickedUp, GoesOnFromTheSamePort) {
  bed.exchange(kVm1, segment(kAck).frame());
  const Bytes sent = only(bed.take(kUplink));
  EXPECT_EQ(source_of(sent), endpoint(kExternal, 40000));
  bed.exchange(kUplink, Packet()
                            .from(kRouterMac, kServer, 443)
                            .to(kUplinkMac, kExternal, 40000)
                            .tcp(kAck)
                            .sequence(kAcknowledged)
                            .acknowledgment(kSequence + 18)
                            .frame());
  EXPECT_EQ(bed.take(kVm1).size(), 1u);
  const auto session = view_of(
      bed.worker(0).conntrack(),
      conntrack::FlowKey::of(endpoint(kVm1Address, 40000), endpoint(kServer, 443), net::Protocol::Tcp));
  EXPECT_EQ(session->state, conntrack::SessionState::Established);
}

TEST_F(MidStreamPickedUp, GoesOnToAForwardWhoeverSpeaksFirst) {
  bed.change_state([](ForwardingState& state) {
    set_forwards(state, {{net::Protocol::Tcp, 8080, endpoint(kVm1Address, 80)}});
    state.networks[0].hosts =
        WordTable<InsideHost>({{net::parse_ipv4(kVm1Address)->raw(), {.mac = vm_mac(1), .port = kVm1}}});
  });
  bed.exchange(kUplink,
               Packet().from(kRouterMac, kServer, 4000).to(kUplinkMac, kExternal, 8080).tcp(kAck).frame());
  EXPECT_EQ(destination_of(only(bed.take(kVm1))), endpoint(kVm1Address, 80));
  for (const std::uint16_t remote : {4000, 4001}) {
    bed.exchange(kVm1, segment(kAck).from(vm_mac(1), kVm1Address, 80).to(kRedMac, kServer, remote).frame());
    EXPECT_EQ(source_of(only(bed.take(kUplink))), endpoint(kExternal, 8080));
  }
  bed.exchange(kUplink,
               Packet().from(kRouterMac, kServer, 4000).to(kUplinkMac, kExternal, 8081).tcp(kAck).frame());
  EXPECT_EQ(bed.dropped(DropReason::NoSession), 1u);
}

}  // namespace
}  // namespace vmnat::test
