// SPDX-License-Identifier: Apache-2.0
// Connections that are older than their session: MidStream::PickUp, as after a restart.
#include "tests/conntrack/fixture.h"

namespace vmnat::conntrack {
namespace {

const net::Endpoint kVm = endpoint("192.168.122.10", 40000);
const net::Endpoint kRemote = endpoint("198.51.100.1", 443);
const net::Endpoint kService = endpoint("203.0.113.1", 80), kServer = endpoint("192.168.122.11", 80);
constexpr Ticks kLong = std::chrono::minutes(124), kTransitory = std::chrono::minutes(4);

// A connection whose ends are at 100.. and 0xffff'fff0.., of which the gateway has never heard.
class Connection {
 public:
  // The first segment that the gateway sees, by the VM or, to a forward, by the remote.
  explicit Connection(Direction first = kOut, std::uint8_t flags = kAck) : nat({}, picks_up()) {
    const bool is_outbound = first == kOut;
    const FlowKey key = FlowKey::of(is_outbound ? kVm : kService, kRemote, kTcp);
    const Opened opened =
        is_outbound ? nat->open_outbound({.key = key, .tcp_flags = flags}, 0, now)
                    : nat->open_inbound({.key = key, .forward_to = kServer, .tcp_flags = flags}, 0, now);
    verdict = opened.verdict;
    session = opened.session;
    if (session != nullptr) send(first, flags, 10);
  }
  static NatPolicy picks_up() { return {.mid_stream = MidStream::PickUp}; }

  SessionState send(Direction direction, std::uint8_t flags, std::uint32_t payload = 0) {
    const auto side = static_cast<unsigned>(direction);
    const TcpSegment segment{next[side], next[1 - side], payload, flags};
    next[side] = segment.end();
    return see(direction, segment);
  }
  // As a stranger, whose numbers are `off` the remote's.
  SessionState forge(std::uint8_t flags, std::uint32_t off) {
    return see(kIn, {next[1] + off, next[0] + off, 0, flags});
  }
  SessionState see(Direction direction, const TcpSegment& segment) {
    follow_tcp(*nat, *session, direction, segment, now);
    return session->state();
  }
  [[nodiscard]] Ticks life() {
    const SessionView view = *view_of(*nat, session->outbound_key());
    return view.expires - view.last_seen;
  }

  Nat nat;
  Time now = at_seconds(1000);
  std::array<std::uint32_t, 2> next{100, 0xffff'fff0};
  Verdict verdict{};
  Session* session = nullptr;
};

TEST(PickUp, TakesWhatHasAnAckAndNeitherSynNorRst) {
  for (const Direction first : {kOut, kIn})
    for (unsigned flags = 0; flags < 32; ++flags) {
      Connection tcp(first, static_cast<std::uint8_t>(flags));
      const bool is_syn = (flags & (kSyn | kAck | kRst | kFin)) == kSyn;
      const bool goes_on = (flags & kAck) != 0 && (flags & (kSyn | kRst)) == 0;
      EXPECT_EQ(tcp.verdict, is_syn || goes_on ? Verdict::Opened : Verdict::TcpNotSyn) << flags;
    }
}

TEST(PickUp, KeepsTheVmsPortSoThatTheRemoteKnowsTheConnection) {
  Connection tcp;
  EXPECT_EQ(tcp.session->external(), endpoint("203.0.113.1", 40000));
}

TEST(PickUp, IsTransitoryUntilTheOtherSideGoesOn) {
  for (const Direction first : {kOut, kIn}) {
    Connection tcp(first);
    const Direction other = first == kOut ? kIn : kOut;
    for (int i = 0; i < 3; ++i) tcp.send(first, kAck, 1000);
    EXPECT_EQ(to_string(tcp.session->state()), std::string("picked_up"));
    EXPECT_EQ(tcp.life(), kTransitory);
    EXPECT_FALSE(tcp.session->is_assured());
    EXPECT_EQ(tcp.send(other, kAck, 100), SessionState::Established);
    EXPECT_EQ(tcp.life(), kLong);
    EXPECT_EQ(tcp.send(first, kAck), SessionState::Established);
    EXPECT_EQ(tcp.nat.broken_invariant(), "");
  }
}

TEST(PickUp, ThenIsFollowedLikeAnyConnection) {
  for (const Direction first : {kOut, kIn}) {
    Connection tcp(first);
    tcp.send(first == kOut ? kIn : kOut, kAck, 100);
    tcp.send(kOut, kAck);
    EXPECT_EQ(tcp.forge(kRst, 5), SessionState::Established);
    EXPECT_EQ(tcp.forge(kFin | kAck, 0x1000'0000), SessionState::Established);
    tcp.send(kIn, kAck, 3000);
    EXPECT_EQ(tcp.send(kIn, kRst), SessionState::Reset);
  }
}

TEST(PickUp, OfTheVmBelievesNoStranger) {
  Connection tcp;
  for (const std::uint32_t off : {0x0080'0000u, 0x8000'0000u, 0xff00'0000u})
    for (const std::uint8_t flags : {kAck, kSyn, kRst, static_cast<std::uint8_t>(kFin | kAck)}) {
      EXPECT_EQ(tcp.forge(flags, off), SessionState::PickedUpOutbound) << off;
      EXPECT_EQ(tcp.life(), kTransitory);
    }
  EXPECT_EQ(tcp.forge(kRst, 1), SessionState::PickedUpOutbound);
}

// It has forgotten the connection, or its external port is another one now: RFC 9293 3.10.7.1.
TEST(PickUp, EndsWithTheRemotesReset) {
  Connection tcp;
  EXPECT_EQ(tcp.see(kIn, {tcp.next[1], 0, 0, kRst}), SessionState::Reset);
  EXPECT_EQ(tcp.life(), kTransitory);
}

TEST(PickUp, EndsWithTheVmsResetOfWhatItDoesNotKnow) {
  Connection tcp(kIn);
  EXPECT_EQ(tcp.send(kOut, kRst), SessionState::Reset);
  EXPECT_EQ(tcp.life(), kTransitory);
}

TEST(PickUp, SeesTheRemoteCloseFirst) {
  Connection tcp;
  EXPECT_EQ(tcp.send(kIn, kFin | kAck, 10), SessionState::FinInbound);
  EXPECT_EQ(tcp.send(kOut, kAck), SessionState::FinInbound);
  EXPECT_EQ(tcp.send(kOut, kFin | kAck), SessionState::Closing);
}

TEST(PickUp, OfAFinIsOnItsWayOut) {
  Connection tcp(kOut, kFin | kAck);
  EXPECT_EQ(tcp.session->state(), SessionState::Closing);
}

TEST(PickUp, MayBeginAnew) {
  Connection tcp;
  EXPECT_EQ(tcp.send(kOut, kSyn), SessionState::SynOutbound);
  EXPECT_EQ(tcp.send(kIn, kSyn | kAck), SessionState::SynAcknowledged);
  EXPECT_EQ(tcp.send(kOut, kAck), SessionState::Established);
}

TEST(PickUp, OfRemotesIsCountedAgainstTheirShare) {
  Nat nat({.capacity = 64, .guests = 4}, Connection::picks_up());
  for (unsigned i = 0; i < 64; ++i) {
    const InboundFlow flow{.key = FlowKey::of(kService, endpoint("198.51.100.1", 1000 + i), kTcp),
                           .forward_to = kServer,
                           .vm_port = 1,
                           .tcp_flags = kAck};
    EXPECT_EQ(nat->open_inbound(flow, 0, {}).verdict, Verdict::Opened);
  }
  EXPECT_EQ(sessions_of(*nat, 1, kIn), 16u) << "a quarter; the older ones went";
}

}  // namespace
}  // namespace vmnat::conntrack
