// SPDX-License-Identifier: Apache-2.0
// ICMP errors of others on their way through the NAT: every protocol quoted, both directions, to the byte.
// What arrives is held against packets that the builder made whole, checksums and all.
#include <random>

#include "tests/support/fixture.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using net::IcmpType;
using net::to_string;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr const char* kHop = "198.51.100.1";  // a router on the way
constexpr std::size_t kWhole = 2000;
constexpr std::size_t kEightBytes = 8;

enum class Inner { Tcp, Udp, UdpWithoutChecksum, Echo, Gre };
constexpr Inner kInners[] = {Inner::Tcp, Inner::Udp, Inner::UdpWithoutChecksum, Inner::Echo, Inner::Gre};

std::string name_of(Inner inner) {
  constexpr const char* kNames[] = {"TCP", "UDP", "UDP without checksum", "echo", "GRE"};
  return kNames[static_cast<unsigned>(inner)];
}

Packet made_of(Packet packet, Inner inner, IcmpType echo, std::uint16_t identifier) {
  switch (inner) {
    case Inner::Tcp:
      return packet.tcp(echo == IcmpType::EchoRequest ? net::TcpHeader::kSyn
                                                      : net::TcpHeader::kSyn | net::TcpHeader::kAck);
    case Inner::Udp:
      return packet.udp();
    case Inner::UdpWithoutChecksum:
      return packet.udp().without_udp_checksum();
    case Inner::Echo:
      return packet.icmp_echo(echo, identifier);
    case Inner::Gre:
      return packet.protocol(47);
  }
  return packet;
}

Packet outbound(Inner inner) {
  return made_of(Packet().from(vm_mac(1), kVm1Address, 40000).to(kRedMac, kServer, 80), inner,
                 IcmpType::EchoRequest, 7);
}
// The remote's answer to what was sent from `external`.
Packet answer(Inner inner, std::uint16_t external) {
  return made_of(Packet().from(kRouterMac, kServer, 80).to(kUplinkMac, kExternal, external), inner,
                 IcmpType::EchoReply, external);
}
// The same as the VM gets it.
Packet answer_at_vm(Inner inner) {
  return made_of(Packet().from(kRedMac, kServer, 80).to(vm_mac(1), kVm1Address, 40000), inner,
                 IcmpType::EchoReply, 7);
}
Packet error_in(const Bytes& quote, IcmpType type = IcmpType::TimeExceeded, std::uint8_t code = 0) {
  return Packet().from(kRouterMac, kHop).to(kUplinkMac, kExternal).icmp_error(type, code, quote);
}
Packet error_out(const Bytes& quote, IcmpType type = IcmpType::DestinationUnreachable,
                 std::uint8_t code = 3) {
  return Packet().from(vm_mac(1), kVm1Address).to(kRedMac, kServer).icmp_error(type, code, quote);
}

class IcmpErrors : public OnTestbed {
 protected:
  // Opens the session; what the uplink carried.
  Bytes opened(const Packet& packet) {
    bed.exchange(kVm1, packet.frame());
    return only(bed.take(kUplink));
  }
  void expect_refused(
      PortIndex port, const Packet& error, DropReason reason, const std::string& says,
      const std::function<void(Bytes&)>& change = [](Bytes&) {}) {
    const std::uint64_t before = bed.dropped(reason);
    bed.exchange(port, error.frame(change));
    EXPECT_EQ(bed.dropped(reason), before + 1) << says << ": " << ::testing::PrintToString(bed.counts());
    EXPECT_THAT(bed.take(kUplink), IsEmpty()) << says;
    EXPECT_THAT(bed.take(kVm1), IsEmpty()) << says;
  }
};

TEST_F(IcmpErrors, ComingInQuoteWhatTheVmSentWhateverItWas) {
  for (const Inner inner : kInners)
    for (const std::size_t options : {0u, 3u})
      for (const std::size_t cut : {kEightBytes, kWhole}) {
        SCOPED_TRACE(name_of(inner) + ", options " + std::to_string(options) + ", bytes " +
                     std::to_string(cut));
        const Packet packet = outbound(inner).options(options);
        const Bytes sent = opened(packet);
        bed.exchange(kUplink, error_in(quoted(sent, cut)).ttl(50).frame());
        const Bytes received = only(bed.take(kVm1));
        EXPECT_EQ(to_string(ip(received).source), kHop) << "traceroute needs the hop's own address";
        EXPECT_EQ(to_string(ip(received).destination), kVm1Address);
        EXPECT_EQ(ip(received).ttl, 49);
        EXPECT_EQ(net::view<net::EthernetHeader>(received)->destination, vm_mac(1));
        EXPECT_EQ(net::view<net::EthernetHeader>(received)->source, kRedMac);
        EXPECT_EQ(icmp(received).type, IcmpType::TimeExceeded);
        EXPECT_TRUE(has_good_checksums(received));
        EXPECT_EQ(quote_in(received), quoted(Packet(packet).ttl(63).frame(), cut));
      }
}

TEST_F(IcmpErrors, GoingOutQuoteWhatTheRemoteSentWhateverItWas) {
  for (const Inner inner : kInners)
    for (const std::size_t options : {0u, 3u})
      for (const std::size_t cut : {kEightBytes, kWhole}) {
        SCOPED_TRACE(name_of(inner) + ", options " + std::to_string(options) + ", bytes " +
                     std::to_string(cut));
        const std::uint16_t external = source_of(opened(outbound(inner))).port.host();
        const Packet reply = answer(inner, external).options(options);
        bed.exchange(kUplink, reply.frame());
        const Bytes received = only(bed.take(kVm1));
        ASSERT_EQ(quoted(received, kWhole),
                  quoted(answer_at_vm(inner).options(options).ttl(63).frame(), kWhole));
        bed.exchange(kVm1, error_out(quoted(received, cut)).frame());
        const Bytes sent = only(bed.take(kUplink));
        EXPECT_EQ(to_string(ip(sent).source), kExternal) << "nothing inside shows";
        EXPECT_EQ(to_string(ip(sent).destination), kServer);
        EXPECT_EQ(ip(sent).ttl, 63);
        EXPECT_EQ(net::view<net::EthernetHeader>(sent)->source, kUplinkMac);
        EXPECT_EQ(net::view<net::EthernetHeader>(sent)->destination, kRouterMac);
        EXPECT_TRUE(has_good_checksums(sent));
        EXPECT_EQ(quote_in(sent), quoted(Packet(reply).ttl(63).frame(), cut));
      }
}

TEST_F(IcmpErrors, KeepTypeCodeAndTheNextHopsMtu) {
  const Bytes sent = opened(outbound(Inner::Udp));
  struct Kind {
    IcmpType type;
    std::uint8_t code;
  };
  for (const Kind kind :
       {Kind{IcmpType::DestinationUnreachable, 4}, Kind{IcmpType::DestinationUnreachable, 13},
        Kind{IcmpType::TimeExceeded, 1}, Kind{IcmpType::ParameterProblem, 0}}) {
    const Bytes error = error_in(quoted(sent, kEightBytes), kind.type, kind.code).frame();
    bed.exchange(kUplink, error);
    const Bytes received = only(bed.take(kVm1));
    EXPECT_EQ(icmp(received).type, kind.type);
    EXPECT_EQ(icmp(received).code, kind.code);
    EXPECT_TRUE(std::equal(received.begin() + 38, received.begin() + 42, error.begin() + 38))
        << "second word";
    EXPECT_TRUE(has_good_checksums(received));
  }
}

TEST_F(IcmpErrors, AreAcceptedAboutAFirstFragmentAndWithExtensionsBehindTheQuote) {
  const Bytes sent = opened(outbound(Inner::Udp));
  Bytes quote = quoted(sent, kWhole);
  quote.resize(quote.size() + 12, std::byte{0x5a});  // RFC 4884
  bed.exchange(kUplink, error_in(quote).frame());
  const Bytes received = only(bed.take(kVm1));
  EXPECT_TRUE(has_good_checksums(received));
  Bytes expected = quoted(outbound(Inner::Udp).ttl(63).frame(), kWhole);
  expected.resize(expected.size() + 12, std::byte{0x5a});
  EXPECT_EQ(quote_in(received), expected);

  const auto first = [](const char* from, std::uint16_t port) {
    return Packet()
        .from(vm_mac(1), from, port)
        .to(kRedMac, kServer, 80)
        .udp()
        .fragment(0x2000)
        .ttl(9)
        .frame();
  };
  bed.exchange(kUplink, error_in(quoted(first(kExternal, 40000), kEightBytes)).frame());
  EXPECT_EQ(quote_in(only(bed.take(kVm1))), quoted(first(kVm1Address, 40000), kEightBytes));
}

TEST_F(IcmpErrors, OfAnotherVmOfTheNetworkGoOutInTheSessionsName) {
  bed.learn(kVm2, vm_mac(2));
  const std::uint16_t external = source_of(opened(outbound(Inner::Udp))).port.host();
  bed.exchange(kUplink, answer(Inner::Udp, external).frame());
  const Bytes quote = quoted(only(bed.take(kVm1)), kEightBytes);
  bed.exchange(kVm2, Packet()
                         .from(vm_mac(2), "192.168.122.11")
                         .to(kRedMac, kServer)
                         .icmp_error(IcmpType::DestinationUnreachable, 1, quote)
                         .frame());
  const Bytes sent = only(bed.take(kUplink));
  EXPECT_EQ(to_string(ip(sent).source), kExternal);
  EXPECT_TRUE(has_good_checksums(sent));
}

TEST_F(IcmpErrors, NeitherRefreshNorEndTheSession) {
  const Bytes sent = opened(outbound(Inner::Udp));
  bed.advance(std::chrono::seconds(25));
  bed.exchange(kUplink, error_in(quoted(sent, kEightBytes), IcmpType::DestinationUnreachable, 3).frame());
  EXPECT_EQ(bed.take(kVm1).size(), 1u);
  EXPECT_EQ(bed.worker(0).conntrack().statistics().active, 1u) << "RFC 4787 REQ-12";
  bed.advance(std::chrono::seconds(10));
  EXPECT_EQ(bed.worker(0).conntrack().statistics().active, 0u) << "RFC 5508 REQ-6";
}

TEST_F(IcmpErrors, ComingInAreRefusedForAReason) {
  const Bytes sent = opened(outbound(Inner::Udp));
  const Bytes quote = quoted(sent, kEightBytes);
  const auto about = [](const Packet& packet) { return quoted(packet.frame(), kEightBytes); };
  const Packet unknown = Packet().from({}, kExternal, 40001).to({}, kServer, 80).udp();
  const auto set = [](std::size_t at, unsigned value) {
    return [=](Bytes& bytes) { bytes[at] = static_cast<std::byte>(value); };
  };
  const auto changed_quote = [&](std::size_t at, unsigned value) {
    Bytes changed = quote;
    changed[at] = static_cast<std::byte>(value);
    return error_in(changed);
  };
  expect_refused(kUplink, error_in(about(unknown)), DropReason::IcmpError, "no session");
  expect_refused(kUplink, error_in(about(Packet(unknown).tcp(2))), DropReason::IcmpError, "another protocol");
  expect_refused(kUplink, error_in(quote), DropReason::IcmpErrorChecksum, "its checksum", set(36, 0));
  expect_refused(kUplink, changed_quote(8, 1), DropReason::IcmpErrorChecksum, "the quoted checksum");
  expect_refused(kUplink, changed_quote(0, 0x65), DropReason::IcmpErrorQuote, "quoted version 6");
  expect_refused(kUplink, changed_quote(0, 0x44), DropReason::IcmpErrorQuote, "quoted IHL below 5");
  expect_refused(kUplink, changed_quote(0, 0x4f), DropReason::IcmpErrorQuote, "quoted IHL beyond the end");
  expect_refused(kUplink, changed_quote(3, 19), DropReason::IcmpErrorQuote, "quoted total length");
  expect_refused(kUplink, error_in(quoted(sent, 7)), DropReason::IcmpErrorQuote, "seven bytes of UDP");
  expect_refused(kUplink, error_in(Bytes(quote.begin(), quote.begin() + 19)), DropReason::IcmpErrorQuote,
                 "nineteen bytes of IPv4");
  expect_refused(kUplink, error_in({}), DropReason::IcmpErrorQuote, "nothing quoted");
  expect_refused(kUplink, error_in(about(Packet(unknown).from({}, kExternal, 40000).fragment(0x0010))),
                 DropReason::IcmpErrorQuote, "a later fragment");
  expect_refused(
      kUplink,
      error_in(about(Packet().from({}, kExternal).to({}, kServer).icmp_echo(IcmpType::EchoReply, 7))),
      DropReason::IcmpErrorQuote, "an echo reply, which we never send through");
  expect_refused(kUplink, error_in(about(error_in(quote))), DropReason::IcmpErrorQuote,
                 "an error about an error");
  expect_refused(kUplink, error_in(quote, IcmpType::Redirect, 1), DropReason::IcmpType, "a redirect");
  expect_refused(kUplink, error_in(quote, IcmpType::SourceQuench), DropReason::IcmpType, "source quench");
  expect_refused(kUplink, error_in(quote).ttl(1), DropReason::TtlExpired, "TTL 1");
  expect_refused(kUplink, error_in(quote).to(kUplinkMac, kVm1Address), DropReason::NotExternal,
                 "for an inside address");
  bed.exchange(kUplink, error_in(quote).frame());
  EXPECT_EQ(bed.take(kVm1).size(), 1u) << "the same without a fault";
}

TEST_F(IcmpErrors, GoingOutAreRefusedForAReason) {
  const std::uint16_t external = source_of(opened(outbound(Inner::Udp))).port.host();
  bed.exchange(kUplink, answer(Inner::Udp, external).frame());
  const Bytes quote = quoted(only(bed.take(kVm1)), kEightBytes);
  expect_refused(kVm1, error_out(quote).from(vm_mac(1), "192.168.5.10"), DropReason::SourceForeign,
                 "a source of another network");
  expect_refused(kVm1, error_out(quote).from(vm_mac(1), "192.168.122.1"), DropReason::SourceForeign,
                 "the gateway's address");
  expect_refused(kVm1, error_out(quote).to(kRedMac, "198.51.100.66"), DropReason::IcmpError,
                 "for somebody who did not send the packet");
  expect_refused(kVm4, error_out(quote).from(vm_mac(4), "192.168.5.10").to(kBlueMac, kServer),
                 DropReason::IcmpError, "another network's VM");
  expect_refused(kVm1, error_out(quote).to(kRedMac, "192.168.122.1"), DropReason::IcmpError,
                 "for the gateway");
  expect_refused(kVm1, error_out(quote).payload(1480), DropReason::TooBig, "beyond the uplink's MTU");
  expect_refused(kVm1, error_out(quote).ttl(1), DropReason::TtlExpired, "TTL 1");
  expect_refused(kVm1, error_out(quoted(outbound(Inner::Udp).frame(), kEightBytes)), DropReason::IcmpError,
                 "about its own packet");
}

TEST_F(IcmpErrors, OverSegmentsAreRefused) {
  const Bytes sent = opened(outbound(Inner::Udp));
  const Packet error = error_in(quoted(sent, kWhole)).payload(2000);
  expect_refused(kUplink, error, DropReason::HeadersSplit, "a message longer than a buffer");
}

TEST(IcmpErrorsWorkers, ReachTheWorkerThatHasTheSession) {
  for (const Inner inner : kInners) {
    SCOPED_TRACE(name_of(inner));
    Testbed bed(3);
    bed.learn(kVm1, vm_mac(1));
    bed.exchange(kVm1, outbound(inner).frame());
    const Bytes sent = only(bed.take(kUplink));
    bed.exchange(kUplink, error_in(quoted(sent, kEightBytes)).frame());
    EXPECT_EQ(quote_in(only(bed.take(kVm1))), quoted(outbound(inner).ttl(63).frame(), kEightBytes));
    bed.exchange(kUplink, answer(inner, source_of(sent).port.host()).frame());
    bed.exchange(kVm1, error_out(quoted(only(bed.take(kVm1)), kEightBytes)).frame());
    EXPECT_TRUE(has_good_checksums(only(bed.take(kUplink))));
    EXPECT_TRUE(bed.is_balanced());
  }
}

TEST(IcmpErrorsAccounting, EveryDamagedOneIsCountedOnceAndItsBufferComesBack) {
  std::mt19937_64 random(1122);
  Testbed bed;
  bed.learn(kVm1, vm_mac(1));
  bed.exchange(kVm1, outbound(Inner::Udp).frame());
  const Bytes sent = only(bed.take(kUplink));
  const std::size_t buffers = bed.free_buffers();
  for (int round = 0; round < 5'000; ++round) {
    Bytes quote = quoted(sent, random() % 40);
    for (unsigned changes = random() % 3; changes > 0; --changes)
      quote[random() % quote.size()] = static_cast<std::byte>(random());
    Bytes frame = (random() % 2 == 0 ? error_in(quote) : error_out(quote)).frame();
    if (random() % 4 == 0) frame.resize(34 + random() % (frame.size() - 34));
    bed.exchange(random() % 2 == 0 ? kUplink : kVm1, frame);
    for (const Bytes& leaving : bed.take(kUplink)) ASSERT_EQ(to_string(ip(leaving).source), kExternal);
    bed.take(kVm1);
    bed.take(kVm2);
    bed.take(kVm3);
  }
  EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts());
  EXPECT_EQ(bed.free_buffers(), buffers);
}

}  // namespace
}  // namespace vmnat::test
