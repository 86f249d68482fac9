// SPDX-License-Identifier: Apache-2.0
// The uplink's DHCP client: every (state, event) pair by a table, then what is said, believed and timed.
#include "dhcp/client.h"

#include <gtest/gtest.h>

#include "tests/dhcp/client_bench.h"

namespace vmnat::dhcp::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using State = ClientState;

enum class Event { Start, LinkReturned, Offer, Ack, Nak, Conflict, Timer, Expiry };

void play(ClientBench& bench, Event event) {
  switch (event) {
    case Event::Start:
      return bench.client.start(std::nullopt, bench.now);
    case Event::LinkReturned:
      return bench.client.link_returned(bench.now);
    case Event::Offer:
      return bench.receive(MessageType::Offer);
    case Event::Ack:
      return bench.receive(MessageType::Ack);
    case Event::Nak:
      return bench.receive(MessageType::Nak);
    case Event::Conflict:
      return bench.conflict();
    case Event::Timer:
      return bench.wait();
    case Event::Expiry:
      bench.now += std::chrono::hours(2);
      return bench.client.advance(bench.now);
  }
}

struct Row {
  State in;
  Event event;
  State out;
  std::string_view says;  // the message type sent, "probe", or ""
};

// From RFC 2131 figure 5 and RFC 5227, not from the code.
constexpr Row kRows[] = {
    {State::Stopped, Event::Start, State::Selecting, "discover"},
    {State::Stopped, Event::LinkReturned, State::Stopped, ""},
    {State::Stopped, Event::Offer, State::Stopped, ""},
    {State::Stopped, Event::Ack, State::Stopped, ""},
    {State::Stopped, Event::Nak, State::Stopped, ""},
    {State::Stopped, Event::Conflict, State::Stopped, ""},
    {State::Stopped, Event::Expiry, State::Stopped, ""},

    {State::Init, Event::Start, State::Init, ""},
    {State::Init, Event::LinkReturned, State::Selecting, "discover"},
    {State::Init, Event::Offer, State::Init, ""},
    {State::Init, Event::Ack, State::Init, ""},
    {State::Init, Event::Nak, State::Init, ""},
    {State::Init, Event::Conflict, State::Init, ""},
    {State::Init, Event::Timer, State::Selecting, "discover"},

    {State::Selecting, Event::Start, State::Selecting, ""},
    {State::Selecting, Event::LinkReturned, State::Selecting, "discover"},
    {State::Selecting, Event::Offer, State::Requesting, "request"},
    {State::Selecting, Event::Ack, State::Selecting, ""},
    {State::Selecting, Event::Nak, State::Selecting, ""},
    {State::Selecting, Event::Conflict, State::Selecting, ""},
    {State::Selecting, Event::Timer, State::Selecting, "discover"},

    {State::Requesting, Event::Start, State::Requesting, ""},
    {State::Requesting, Event::LinkReturned, State::Selecting, "discover"},
    {State::Requesting, Event::Offer, State::Requesting, ""},
    {State::Requesting, Event::Ack, State::Checking, "probe"},
    {State::Requesting, Event::Nak, State::Selecting, "discover"},
    {State::Requesting, Event::Conflict, State::Requesting, ""},
    {State::Requesting, Event::Timer, State::Requesting, "request"},

    {State::Rebooting, Event::Start, State::Rebooting, ""},
    {State::Rebooting, Event::LinkReturned, State::Selecting, "discover"},
    {State::Rebooting, Event::Offer, State::Rebooting, ""},
    {State::Rebooting, Event::Ack, State::Checking, "probe"},
    {State::Rebooting, Event::Nak, State::Selecting, "discover"},
    {State::Rebooting, Event::Conflict, State::Rebooting, ""},
    {State::Rebooting, Event::Timer, State::Rebooting, "request"},

    {State::Checking, Event::Start, State::Checking, ""},
    {State::Checking, Event::LinkReturned, State::Selecting, "discover"},
    {State::Checking, Event::Offer, State::Checking, ""},
    {State::Checking, Event::Ack, State::Checking, ""},
    {State::Checking, Event::Nak, State::Checking, ""},
    {State::Checking, Event::Conflict, State::Init, "decline"},
    {State::Checking, Event::Timer, State::Checking, "probe"},

    {State::Bound, Event::Start, State::Bound, ""},
    {State::Bound, Event::LinkReturned, State::Rebooting, "request"},
    {State::Bound, Event::Offer, State::Bound, ""},
    {State::Bound, Event::Ack, State::Bound, ""},
    {State::Bound, Event::Nak, State::Bound, ""},
    {State::Bound, Event::Conflict, State::Bound, ""},
    {State::Bound, Event::Timer, State::Renewing, "request"},
    {State::Bound, Event::Expiry, State::Selecting, "discover"},

    {State::Renewing, Event::Start, State::Renewing, ""},
    {State::Renewing, Event::LinkReturned, State::Rebooting, "request"},
    {State::Renewing, Event::Offer, State::Renewing, ""},
    {State::Renewing, Event::Ack, State::Bound, ""},
    {State::Renewing, Event::Nak, State::Selecting, "discover"},
    {State::Renewing, Event::Conflict, State::Renewing, ""},
    {State::Renewing, Event::Timer, State::Renewing, "request"},
    {State::Renewing, Event::Expiry, State::Selecting, "discover"},

    {State::Rebinding, Event::Start, State::Rebinding, ""},
    {State::Rebinding, Event::LinkReturned, State::Rebooting, "request"},
    {State::Rebinding, Event::Offer, State::Rebinding, ""},
    {State::Rebinding, Event::Ack, State::Bound, ""},
    {State::Rebinding, Event::Nak, State::Selecting, "discover"},
    {State::Rebinding, Event::Conflict, State::Rebinding, ""},
    {State::Rebinding, Event::Timer, State::Rebinding, "request"},
    {State::Rebinding, Event::Expiry, State::Selecting, "discover"},
};

std::string heard(const ClientBench& bench) {
  std::string all;
  for (const Said& said : bench.said) all += std::string{to_string(said.message.type().value())};
  for (std::size_t i = 0; i < bench.probes.size(); ++i) all += "probe";
  return all;
}

TEST(DhcpClientStates, EachEventInEachStateLeadsWhereTheRfcSays) {
  for (const Row& row : kRows) {
    SCOPED_TRACE(std::string{to_string(row.in)} + ", event " + std::to_string(static_cast<int>(row.event)));
    ClientBench bench;
    bench.bring_to(row.in);
    ASSERT_EQ(bench.client.state(), row.in);
    play(bench, row.event);
    bench.collect();
    EXPECT_EQ(to_string(bench.client.state()), to_string(row.out));
    EXPECT_EQ(heard(bench), row.says);
    const bool holds = row.out == State::Bound || row.out == State::Renewing || row.out == State::Rebinding;
    if (row.out != State::Rebooting) {
      EXPECT_EQ(bench.client.binding().has_value(), holds);
    }
  }
}

class DhcpClient : public testing::Test, public ClientBench {};

TEST_F(DhcpClient, FourMessagesAndThreeProbesBindWhatTheServerGives) {
  bring_to(State::Checking);
  pass(seconds(1));
  collect();
  EXPECT_EQ(probes.size(), 2u);  // the first one went with the ACK
  EXPECT_EQ(news, std::vector{ClientNews::Bound});
  const Binding& binding = client.binding().value();
  EXPECT_EQ(net::to_string(binding.address), "203.0.113.50/24");
  EXPECT_EQ(binding.router, kServer);
  EXPECT_EQ(binding.server, kServer);
  EXPECT_EQ(binding.dns, std::vector{ip("9.9.9.9")});
  EXPECT_EQ(binding.mtu, 0);
}

TEST_F(DhcpClient, MessagesHoldWhatTable5Demands) {
  client.start(std::nullopt, now);
  collect();
  const Said discover = std::move(said.at(0));
  EXPECT_EQ(discover.message.header.chaddr, kMac);
  EXPECT_FALSE(discover.message.header.wants_broadcast());
  EXPECT_EQ(discover.datagram.destination, (net::Endpoint{kBroadcastAddress, kServerPort}));
  EXPECT_EQ(discover.datagram.source, (net::Endpoint{{}, kClientPort}));
  EXPECT_EQ(discover.datagram.destination_mac, net::kBroadcastMac);
  EXPECT_FALSE(discover.message.options.has(Option::ServerId));
  for (const Option code : {Option::SubnetMask, Option::Router, Option::DnsServers, Option::InterfaceMtu,
                            Option::ClasslessRoutes, Option::RenewalTime, Option::RebindingTime})
    EXPECT_TRUE(discover.message.options.names(code));
  const ByteView id = discover.message.options.bytes(Option::ClientId);
  EXPECT_EQ((Bytes{id.begin(), id.end()}), hex("01 52 54 00 00 00 01"));

  receive(MessageType::Offer);
  collect();
  EXPECT_EQ(said.at(0).message.header.xid, discover.message.header.xid);
  EXPECT_EQ(said.at(0).message.options.address(Option::ServerId), kServer);
  EXPECT_EQ(said.at(0).message.options.address(Option::RequestedAddress), kAddress);
  EXPECT_TRUE(said.at(0).message.header.ciaddr.is_unspecified());
}

TEST_F(DhcpClient, RenewsByUnicastFromItsAddressAndRebindsByBroadcast) {
  bring_to(State::Bound);
  wait();
  collect();
  EXPECT_EQ(said.at(0).by_unicast_to, kServer);
  EXPECT_EQ(said.at(0).datagram.destination.address, kServer);
  EXPECT_EQ(said.at(0).datagram.source.address, kAddress);
  EXPECT_EQ(said.at(0).message.header.ciaddr, kAddress);
  EXPECT_FALSE(said.at(0).message.options.has(Option::RequestedAddress));
  EXPECT_FALSE(said.at(0).message.options.has(Option::ServerId));
  now = client.binding()->rebind;
  client.advance(now);
  collect();
  EXPECT_TRUE(said.at(0).by_unicast_to.is_unspecified());
  EXPECT_EQ(said.at(0).datagram.destination.address, kBroadcastAddress);
  EXPECT_EQ(said.at(0).message.header.ciaddr, kAddress);
}

TEST_F(DhcpClient, ARememberedAddressIsAskedForAndCheckedLikeAnyOther) {
  client.start(kAddress, now);
  collect();
  EXPECT_EQ(said.at(0).message.options.address(Option::RequestedAddress), kAddress);
  EXPECT_FALSE(said.at(0).message.options.has(Option::ServerId));
  EXPECT_TRUE(said.at(0).message.header.ciaddr.is_unspecified());
  receive(MessageType::Ack);
  pass(seconds(1));
  EXPECT_EQ(client.state(), State::Bound);
}

TEST_F(DhcpClient, ARememberedAddressThatNobodyConfirmsBecomesAWish) {
  client.start(kAddress, now);
  collect();
  pass(seconds(16));
  collect();
  ASSERT_EQ(client.state(), State::Selecting);
  EXPECT_EQ(said.back().message.type(), MessageType::Discover);
  EXPECT_EQ(said.back().message.options.address(Option::RequestedAddress), kAddress);
}

TEST_F(DhcpClient, ALeaseIsKeptWhileTheLinkReturnsAndNobodyAnswers) {
  bring_to(State::Bound);
  const Binding held = client.binding().value();
  client.link_returned(now);
  EXPECT_EQ(client.binding(), held);
  pass(seconds(20));
  EXPECT_EQ(client.state(), State::Bound);
  EXPECT_EQ(client.binding(), held);
}

TEST_F(DhcpClient, RequestsAreRepeatedAfter4_8_16_32_64SecondsGiveOrTakeOne) {
  client.start(std::nullopt, now);
  for (const int middle : {4, 8, 16, 32, 64, 64}) {
    const auto wait_for = client.next_action() - now;
    EXPECT_GE(wait_for, seconds(middle - 1));
    EXPECT_LE(wait_for, seconds(middle + 1));
    wait();
  }
}

TEST_F(DhcpClient, FourUnansweredRequestsLeadBackToDiscover) {
  bring_to(State::Requesting);
  for (int i = 0; i < 3; ++i) wait();
  EXPECT_EQ(client.state(), State::Requesting);
  wait();
  EXPECT_EQ(client.state(), State::Selecting);
}

TEST_F(DhcpClient, RenewalIsRepeatedAtHalfOfWhatIsLeftAndAtLeastAMinuteApart) {
  bring_to(State::Renewing);  // 3600 s: T1 about 1800 s, T2 about 3150 s
  EXPECT_EQ(client.next_action() - now, (client.binding()->rebind - now) / 2);
  pass(client.binding()->rebind - now - seconds(90));
  collect();
  wait();
  EXPECT_LE(client.next_action(), client.binding()->rebind);
}

TEST_F(DhcpClient, TimesOfTheServerCountAndDefaultsAreAHalfAndSevenEighths) {
  bring_to(State::Requesting);
  receive(reply(MessageType::Ack)
              .with(Option::RenewalTime, long_bytes(100))
              .with(Option::RebindingTime, long_bytes(200)));
  const ClientTime given = now;
  pass(seconds(1));
  EXPECT_EQ(client.binding()->renew, given + seconds(100));
  EXPECT_EQ(client.binding()->rebind, given + seconds(200));
  EXPECT_EQ(client.binding()->expires, given + seconds(3600));

  ClientBench plain;
  plain.bring_to(State::Requesting);
  plain.receive(MessageType::Ack);
  const ClientTime begun = plain.now;
  plain.pass(seconds(1));
  EXPECT_LE(plain.client.binding()->renew, begun + seconds(1800));
  EXPECT_GE(plain.client.binding()->renew, begun + seconds(1800 - 57));
  EXPECT_LE(plain.client.binding()->rebind, begun + seconds(3150));
  EXPECT_GE(plain.client.binding()->rebind, begun + seconds(3150 - 57));
}

TEST_F(DhcpClient, AnInfiniteLeaseIsNeverRenewed) {
  lease = 0xffffffff;
  bring_to(State::Requesting);
  receive(MessageType::Ack);
  pass(seconds(1));
  EXPECT_EQ(client.next_action(), ClientTime::max());
  now += std::chrono::hours(24 * 365 * 10);
  client.advance(now);
  EXPECT_EQ(client.state(), State::Bound);
}

TEST_F(DhcpClient, AfterAConflictItDeclinesAndWaitsTenSeconds) {
  bring_to(State::Checking);
  conflict();
  collect();
  ASSERT_EQ(said.size(), 1u);
  EXPECT_EQ(said[0].message.type(), MessageType::Decline);
  EXPECT_EQ(said[0].message.options.address(Option::RequestedAddress), kAddress);
  EXPECT_EQ(said[0].message.options.address(Option::ServerId), kServer);
  EXPECT_EQ(said[0].datagram.destination.address, kBroadcastAddress);
  EXPECT_EQ(news, std::vector{ClientNews::Conflict});
  EXPECT_EQ(client.next_action(), now + seconds(10));
  wait();
  collect();
  EXPECT_FALSE(said.at(0).message.options.has(Option::RequestedAddress));
}

TEST_F(DhcpClient, ArpOfOthersAddressesIsNoConflict) {
  bring_to(State::Checking);
  conflict(ip("203.0.113.51"));
  EXPECT_EQ(client.state(), State::Checking);
}

// RFC 5227 section 2.1.1: in whatever form another station shows itself.
TEST_F(DhcpClient, WhoeverHasTheAddressOrProbesForItIsHeardWhileItIsChecked) {
  struct Case {
    std::uint16_t operation;
    const char *sender, *target;
    bool is_conflict;
  };
  constexpr Case kCases[] = {
      {2, "203.0.113.50", "203.0.113.1", true},  {1, "203.0.113.50", "203.0.113.1", true},
      {1, "203.0.113.50", "203.0.113.50", true}, {2, "203.0.113.50", "203.0.113.50", true},
      {1, "0.0.0.0", "203.0.113.50", true},      {1, "0.0.0.0", "203.0.113.51", false},
      {2, "0.0.0.0", "203.0.113.50", false},     {1, "203.0.113.1", "203.0.113.50", false}};
  for (const Case& row : kCases) {
    for (const bool is_us : {false, true}) {
      ClientBench bench;
      bench.bring_to(State::Checking);
      EXPECT_EQ(bench.client.checked(), kAddress);
      bench.arp(row.operation, ip(row.sender), ip(row.target), is_us ? kMac : mac("52:54:00:bb:00:01"));
      EXPECT_EQ(bench.client.state(), row.is_conflict && !is_us ? State::Init : State::Checking)
          << row.operation << ' ' << row.sender << ' ' << row.target;
      EXPECT_EQ(bench.client.checked().is_unspecified(), row.is_conflict && !is_us);
    }
  }
}

// RFC 5227 section 2.4 b.
TEST_F(DhcpClient, ALeaseThatIsClaimedTwiceWithinTenSecondsIsDeclined) {
  for (const State in : {State::Bound, State::Renewing, State::Rebinding}) {
    ClientBench bench;
    bench.bring_to(in);
    bench.conflict();
    bench.pass(seconds(10));
    bench.conflict();
    EXPECT_TRUE(bench.client.binding()) << "the first one of the next ten seconds";
    bench.collect();
    bench.pass(milliseconds(9999));
    bench.collect();
    bench.conflict();
    bench.collect();
    EXPECT_FALSE(bench.client.binding());
    EXPECT_EQ(bench.client.state(), State::Init);
    EXPECT_EQ(bench.client.next_action(), bench.now + seconds(10));
    EXPECT_EQ(bench.news, std::vector{ClientNews::Conflict});
    ASSERT_EQ(bench.said.size(), 1u);
    const Message& decline = bench.said[0].message;
    EXPECT_EQ(decline.type(), MessageType::Decline);
    EXPECT_EQ(decline.options.address(Option::RequestedAddress), kAddress);
    EXPECT_EQ(decline.options.address(Option::ServerId), kServer);
    EXPECT_TRUE(decline.header.ciaddr.is_unspecified()) << "table 5";
    EXPECT_EQ(bench.said[0].datagram.destination.address, kBroadcastAddress);
  }
}

TEST_F(DhcpClient, ProbesOfOthersForALeaseAreNoConflict) {
  bring_to(State::Bound);
  for (int i = 0; i < 3; ++i) arp(1, {}, kAddress, mac("52:54:00:bb:00:01"));
  EXPECT_EQ(client.state(), State::Bound) << "they are answered";
}

// The clock goes on while the machine sleeps.
TEST_F(DhcpClient, ALeaseThatEndedWhileTheMachineSleptIsGivenUpAtTheFirstLook) {
  lease = 600;
  bring_to(State::Bound);
  collect();
  now += std::chrono::hours(1);
  client.advance(now);
  collect();
  EXPECT_FALSE(client.binding());
  EXPECT_EQ(news, std::vector{ClientNews::Expired});
  ASSERT_EQ(said.size(), 1u);
  EXPECT_EQ(said[0].message.type(), MessageType::Discover) << "at once";
}

TEST_F(DhcpClient, AServerThatRefusesWhatItOffersIsAskedEverMoreRarely) {
  client.start(std::nullopt, now);
  collect();
  ClientTime::duration last{0};
  for (int i = 0; i < 9; ++i) {
    receive(MessageType::Offer);
    collect();
    receive(MessageType::Nak);
    const auto waits = client.state() == State::Init ? client.next_action() - now : ClientTime::duration{0};
    EXPECT_GE(waits, last);
    last = waits;
    if (client.state() == State::Init) wait();
    collect();
  }
  EXPECT_EQ(last, seconds(64));
}

TEST_F(DhcpClient, ExpiryEndsTheLeaseAtOnce) {
  bring_to(State::Bound);
  collect();
  pass(std::chrono::hours(1));
  collect();
  EXPECT_FALSE(client.binding());
  EXPECT_EQ(news, std::vector{ClientNews::Expired});
  EXPECT_EQ(client.state(), State::Selecting);
}

TEST_F(DhcpClient, AClasslessDefaultRouteStandsBeforeTheRouter) {
  bring_to(State::Requesting);
  // 10.0.0.0/8 via .2, 0.0.0.0/0 via .9
  receive(reply(MessageType::Ack).with(Option::ClasslessRoutes, hex("08 0a cb007102 00 cb007109")));
  pass(seconds(1));
  EXPECT_EQ(client.binding()->router, ip("203.0.113.9"));
}

TEST_F(DhcpClient, ClasslessRoutesWithoutADefaultLeaveNoRouter) {
  bring_to(State::Requesting);
  receive(reply(MessageType::Ack).with(Option::ClasslessRoutes, hex("08 0a cb007102")));
  pass(seconds(1));
  EXPECT_TRUE(client.binding()->router.is_unspecified());
}

TEST_F(DhcpClient, AnMtuIsTakenWhenItIsOneThatServesIp) {
  for (const auto& [bytes, mtu] : {std::pair{"0578", 1400}, std::pair{"0044", 0}}) {
    ClientBench bench;
    bench.bring_to(State::Requesting);
    bench.receive(bench.reply(MessageType::Ack).with(Option::InterfaceMtu, hex(bytes)));
    bench.pass(seconds(1));
    EXPECT_EQ(bench.client.binding()->mtu, mtu);
  }
}

// What must not move the client, each as a change to a good reply.
TEST(DhcpClientDistrust, RepliesThatAreNotOursAreIgnored) {
  struct Case {
    std::string_view says;
    State in;
    MessageType type;
    void (*spoil)(RequestFrame&);
  };
  static const auto set = [](RequestFrame& frame, Option code, Bytes value) {
    for (RawOptionValue& option : frame.options)
      if (option.code == code) option.value = value;
  };
  const Case cases[] = {
      {"another transaction", State::Selecting, MessageType::Offer,
       [](RequestFrame& f) { f.header.xid = net::Be32::from_host(f.header.xid.host() + 1); }},
      {"another client", State::Selecting, MessageType::Offer,
       [](RequestFrame& f) { f.header.chaddr = mac("52:54:00:00:00:02"); }},
      {"a request", State::Selecting, MessageType::Offer, [](RequestFrame& f) { f.header.op = Op::Request; }},
      {"another's client-id (RFC 6842)", State::Selecting, MessageType::Offer,
       [](RequestFrame& f) { f.with(Option::ClientId, hex("01525400000002")); }},
      {"no address", State::Selecting, MessageType::Offer, [](RequestFrame& f) { f.header.yiaddr = {}; }},
      {"a multicast address", State::Selecting, MessageType::Offer,
       [](RequestFrame& f) { f.header.yiaddr = ip("224.0.0.9"); }},
      {"another server's ACK", State::Requesting, MessageType::Ack,
       [](RequestFrame& f) { set(f, Option::ServerId, hex("cb007103")); }},
      {"another server's NAK", State::Requesting, MessageType::Nak,
       [](RequestFrame& f) { set(f, Option::ServerId, hex("cb007103")); }},
      {"another address than asked for", State::Requesting, MessageType::Ack,
       [](RequestFrame& f) { f.header.yiaddr = ip("203.0.113.51"); }},
      {"the network's broadcast address", State::Requesting, MessageType::Ack,
       [](RequestFrame& f) {
         set(f, Option::SubnetMask, hex("fffffffc")), f.header.yiaddr = ip("203.0.113.51");
       }},
      {"another server's ACK of a renewal", State::Renewing, MessageType::Ack,
       [](RequestFrame& f) { set(f, Option::ServerId, hex("cb007103")); }},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(each.says);
    ClientBench bench;
    bench.bring_to(each.in);
    RequestFrame answer = bench.reply(each.type);
    each.spoil(answer);
    const auto ignored = bench.client.counters().ignored;
    bench.receive(answer);
    EXPECT_EQ(bench.client.state(), each.in);
    EXPECT_EQ(bench.client.counters().ignored, ignored + 1);
  }
}

// RFC 2131 section 4.1 fixes where replies go to, not where they come from.
TEST_F(DhcpClient, AServerMayAnswerFromAnyPort) {
  for (const std::uint16_t port : {1, 68, 1067, 32768, 65535}) {
    ClientBench bench;
    bench.bring_to(State::Selecting);
    for (const MessageType type : {MessageType::Offer, MessageType::Ack}) {
      RequestFrame answer = bench.reply(type);
      answer.source.port = net::L4Port::from_host(port);
      bench.receive(answer);
      bench.collect();
    }
    bench.pass(seconds(1));
    EXPECT_EQ(bench.client.state(), State::Bound) << port;
  }
}

struct LeaseTimes {
  std::uint32_t offered, acknowledged, taken;  // 0: not said
};
constexpr LeaseTimes kLeaseTimes[] = {{600, 0, 600}, {0, 0, 3600}, {0, 900, 900}, {600, 900, 900}};

TEST_F(DhcpClient, ALeaseWithoutATimeLastsAsLongAsWasOfferedOrAnHour) {
  for (const LeaseTimes& row : kLeaseTimes) {
    for (const bool is_zero : {false, true}) {  // a time of 0 says as little
      ClientBench bench;
      bench.bring_to(State::Selecting);
      const auto say = [&](MessageType type, std::uint32_t time) {
        RequestFrame answer = bench.reply(type).without(Option::LeaseTime);
        if (time != 0 || is_zero) answer.with(Option::LeaseTime, ClientBench::long_bytes(time));
        bench.receive(answer);
      };
      say(MessageType::Offer, row.offered);
      bench.collect();
      say(MessageType::Ack, row.acknowledged);
      const ClientTime given = bench.now;
      bench.pass(seconds(1));
      bench.collect();
      ASSERT_TRUE(bench.client.binding());
      EXPECT_EQ(bench.client.binding()->expires, given + seconds(row.taken));
      const bool is_told = std::ranges::find(bench.news, ClientNews::LeaseTimeMissing) != bench.news.end();
      EXPECT_EQ(is_told, row.acknowledged == 0);
    }
  }
}

TEST_F(DhcpClient, ARenewalWithoutATimeIsForAsLongAsBefore) {
  lease = 7200;
  bring_to(State::Renewing);
  receive(reply(MessageType::Ack).without(Option::LeaseTime));
  EXPECT_EQ(client.binding()->expires, now + seconds(7200));
}

TEST_F(DhcpClient, AServerThatDoesNotNameItselfIsWhoSentThePacket) {
  bring_to(State::Selecting);
  receive(reply(MessageType::Offer).without(Option::ServerId));
  collect();
  EXPECT_EQ(said.at(0).message.options.address(Option::ServerId), kServer) << "table 5: MUST";
  receive(reply(MessageType::Ack).without(Option::ServerId));
  pass(seconds(1));
  ASSERT_EQ(client.state(), State::Bound);
  wait();
  collect();
  EXPECT_EQ(said.at(0).by_unicast_to, kServer);
  receive(reply(MessageType::Ack).without(Option::ServerId));
  EXPECT_EQ(client.state(), State::Bound);
}

TEST_F(DhcpClient, AnAckThatNamesNobodyIsOfTheServerThatOffered) {
  bring_to(State::Requesting);
  RequestFrame ack = reply(MessageType::Ack).without(Option::ServerId);
  ack.source.address = ip("203.0.113.254");  // a relay's
  receive(ack);
  pass(seconds(1));
  EXPECT_EQ(client.binding().value().server, kServer);
}

TEST_F(DhcpClient, AServerWithoutANameOrAddressIsAskedByBroadcast) {
  const auto nameless = [&](MessageType type) {
    RequestFrame answer = reply(type).without(Option::ServerId);
    answer.source.address = {};
    return answer;
  };
  bring_to(State::Selecting);
  receive(nameless(MessageType::Offer));
  collect();
  EXPECT_FALSE(said.at(0).message.options.has(Option::ServerId));
  receive(nameless(MessageType::Ack));
  pass(seconds(1));
  ASSERT_EQ(client.state(), State::Bound);
  wait();
  collect();
  EXPECT_TRUE(said.at(0).by_unicast_to.is_unspecified());
  EXPECT_EQ(said.at(0).datagram.destination.address, kBroadcastAddress);
}

TEST_F(DhcpClient, TimesThatMakeNoSenseAreAsIfNotSaid) {
  struct Times {
    std::uint32_t renewal, rebinding;
    std::chrono::seconds renew, rebind;  // 0: T1's or T2's default
  };
  constexpr Times kTimes[] = {{0, 0, {}, {}},
                              {2000, 1000, {}, {}},
                              {1000, 1000, {}, {}},
                              {4000, 5000, {}, {}},
                              {100, 0, seconds(100), {}},
                              {100, 3600, seconds(100), {}},
                              {0, 3000, {}, seconds(3000)},
                              {0, 100, {}, {}}};
  for (const Times& row : kTimes) {
    ClientBench bench;
    bench.bring_to(State::Requesting);
    bench.receive(bench.reply(MessageType::Ack)
                      .with(Option::RenewalTime, long_bytes(row.renewal))
                      .with(Option::RebindingTime, long_bytes(row.rebinding)));
    const ClientTime given = bench.now;
    bench.pass(seconds(1));
    const Binding& binding = bench.client.binding().value();
    const auto expect_near = [&](ClientTime time, seconds told, seconds otherwise) {
      const seconds latest = told == seconds(0) ? otherwise : told;
      EXPECT_LE(time, given + latest) << row.renewal << ' ' << row.rebinding;
      EXPECT_GE(time, given + latest - (told == seconds(0) ? seconds(57) : seconds(0)));
    };
    expect_near(binding.renew, row.renew, seconds(1800));
    expect_near(binding.rebind, row.rebind, seconds(3150));
  }
}

TEST_F(DhcpClient, WithoutAMaskThatIsOneTheAddressClassDecides) {
  for (const char* mask : {"", "00000000", "ff00ff00", "00ffffff"}) {
    for (const auto& [address, prefix] :
         {std::pair{"203.0.113.50", "/24"}, std::pair{"172.20.1.2", "/16"}, std::pair{"10.1.2.3", "/8"}}) {
      ClientBench bench;
      bench.bring_to(State::Selecting);
      for (const MessageType type : {MessageType::Offer, MessageType::Ack}) {
        RequestFrame answer = bench.reply(type, ip(address)).without(Option::SubnetMask);
        if (*mask != 0) answer.with(Option::SubnetMask, hex(mask));
        bench.receive(answer);
        bench.collect();
      }
      bench.pass(seconds(1));
      EXPECT_EQ(net::to_string(bench.client.binding().value().address), std::string(address) + prefix)
          << mask;
    }
  }
}

TEST_F(DhcpClient, ARouterThatNoStationCanBeIsNone) {
  for (const char* router : {"cb007132", "cb0071ff", "cb007100", "00000000", "7f000001", "e0000001"}) {
    ClientBench bench;
    bench.bring_to(State::Requesting);
    bench.receive(bench.reply(MessageType::Ack).without(Option::Router).with(Option::Router, hex(router)));
    bench.pass(seconds(1));
    EXPECT_TRUE(bench.client.binding().value().router.is_unspecified()) << router;
  }
}

TEST_F(DhcpClient, AReplyThatEchoesItsClientIdIsItsOwn) {
  bring_to(State::Selecting);
  receive(reply(MessageType::Offer).with(Option::ClientId, hex("01525400000001")));
  EXPECT_EQ(client.state(), State::Requesting);
}

TEST_F(DhcpClient, AnyServerMayAnswerARebinding) {
  bring_to(State::Rebinding);
  receive(reply(MessageType::Ack, kAddress, kOther));
  EXPECT_EQ(client.state(), State::Bound);
  EXPECT_EQ(client.binding()->server, kOther);
}

}  // namespace
}  // namespace vmnat::dhcp::test
