// SPDX-License-Identifier: Apache-2.0
// What a stranger who knows the addresses and ports of a connection can do to its session, and what its ends
// can.
#include <random>

#include "tests/conntrack/fixture.h"

namespace vmnat::conntrack {
namespace {

const net::Endpoint kVm = endpoint("192.168.122.10", 40000);
const net::Endpoint kRemote = endpoint("198.51.100.1", 443);
const net::Endpoint kService = endpoint("203.0.113.1", 80), kServer = endpoint("192.168.122.11", 80);
constexpr Ticks kLong = std::chrono::minutes(124), kTransitory = std::chrono::minutes(4);

// A session and what its ends have sent, numbered as they would: 100.. from the VM, 0xffff'fff0.. to it.
class Connection {
 public:
  enum class Opener { Vm, Remote };
  explicit Connection(Opener opener = Opener::Vm) {
    session_ = opener == Opener::Vm ? nat.open(kVm, kRemote, kTcp)
                                    : nat.try_forward(kService, kServer, kRemote, kTcp, 1).session;
    send(opener == Opener::Vm ? kOut : kIn, kSyn);
  }
  static Connection established() {
    Connection connection;
    connection.send(kIn, kSyn | kAck);
    connection.send(kOut, kAck);
    return connection;
  }

  // The next segment of that end.
  SessionState send(Direction direction, std::uint8_t flags, std::uint32_t payload = 0) {
    const auto side = static_cast<unsigned>(direction);
    const TcpSegment segment{next[side], next[1 - side], payload, flags};
    next[side] = segment.end();
    return see(direction, segment);
  }
  SessionState forge(std::uint8_t flags, std::uint32_t sequence, std::uint32_t acknowledged = 0,
                     std::uint32_t payload = 0) {
    return see(kIn, {sequence, acknowledged, payload, flags});
  }
  SessionState see(Direction direction, const TcpSegment& segment) {
    count(*session_, direction, 40 + segment.payload);
    follow_tcp(*nat, *session_, direction, segment, now);
    return session_->state();
  }
  // When it ends if nothing else is sent.
  [[nodiscard]] Time end() { return view_of(*nat, session_->outbound_key())->expires; }
  [[nodiscard]] Session& session() { return *session_; }
  [[nodiscard]] std::uint64_t disbelieved() { return nat->statistics().disbelieved; }

  Nat nat;
  Time now = at_seconds(1000);
  std::array<std::uint32_t, 2> next{100, 0xffff'fff0};

 private:
  Session* session_;
};

TEST(TcpTracking, FinAndRstForgedAndThenDataBothWaysLeaveTheConnectionEstablished) {
  std::mt19937 random(1);
  for (unsigned round = 0; round < 1000; ++round) {
    Connection tcp = Connection::established();
    const std::uint32_t far = tcp.next[1] + 0x0080'0000 + random() % 0xff00'0000;
    tcp.forge(kFin | kAck, far, random());
    tcp.forge(kRst, far + 1);
    tcp.send(kIn, kAck, 100);
    ASSERT_EQ(tcp.send(kOut, kAck, 100), SessionState::Established) << round;
    ASSERT_EQ(tcp.end(), tcp.now + kLong);
  }
}

TEST(TcpTracking, AForgedRstLeavesAnIdleConnectionItsTime) {
  Connection tcp = Connection::established();
  const Time end = tcp.end();
  tcp.now += std::chrono::minutes(60);
  for (std::uint32_t off = 1; off < 1u << 20; off += 1021) {
    tcp.forge(kRst, tcp.next[1] + off);
    tcp.forge(kRst | kAck, tcp.next[1] - off, tcp.next[0]);
  }
  EXPECT_EQ(tcp.session().state(), SessionState::Established);
  EXPECT_EQ(tcp.end(), end);
  EXPECT_GT(tcp.disbelieved(), 2000u);
}

// RFC 5961 section 3.2: one try in each window of 64 KB, over all sequence numbers, used to hit.
TEST(TcpTracking, ASweepOfRstsOverAllWindowsDoesNotHit) {
  Connection tcp = Connection::established();
  std::uint32_t sequence = 12345;
  for (unsigned i = 0; i < 1u << 16; ++i, sequence += 1u << 16) tcp.forge(kRst, sequence);
  EXPECT_EQ(tcp.session().state(), SessionState::Established);
}

TEST(TcpTracking, ForgedDataDoNotPrepareTheWayForARst) {
  Connection tcp = Connection::established();
  std::uint32_t sequence = 777;
  for (unsigned i = 0; i < 1u << 16; ++i, sequence += 1u << 16) {
    tcp.forge(kAck, sequence, 5, 10);
    tcp.forge(kRst, sequence + 10);
  }
  EXPECT_EQ(tcp.session().state(), SessionState::Established);
}

TEST(TcpTracking, AForgedSynChangesNothingInAnyState) {
  Connection live = Connection::established();
  EXPECT_EQ(live.forge(kSyn, 5), SessionState::Established);
  EXPECT_EQ(live.forge(kSyn | kAck, 5, 5), SessionState::Established);
  Connection closed = Connection::established();
  closed.send(kOut, kFin | kAck);
  ASSERT_EQ(closed.send(kIn, kFin | kAck), SessionState::Closing);
  EXPECT_EQ(closed.forge(kSyn, 5), SessionState::Closing);
  Connection reset = Connection::established();
  ASSERT_EQ(reset.send(kIn, kRst), SessionState::Reset);
  EXPECT_EQ(reset.forge(kSyn, 5), SessionState::Reset);
}

TEST(TcpTracking, TheRemotesOwnRstResetsAtOnce) {
  struct Case {
    const char* says;
    void (*before)(Connection&);
  };
  constexpr Case kCases[] = {
      {"after the handshake", [](Connection&) {}},
      {"after data that are not acknowledged yet",
       [](Connection& tcp) {
         for (unsigned i = 0; i < 50; ++i) tcp.send(kIn, kAck, 1460);
       }},
      {"after data that are",
       [](Connection& tcp) {
         tcp.send(kIn, kAck, 1460);
         tcp.send(kOut, kAck);
       }},
      {"after an acknowledgement that lags",
       [](Connection& tcp) {
         for (unsigned i = 0; i < 50; ++i) tcp.send(kIn, kAck, 1460);
         tcp.see(kOut, {tcp.next[0], tcp.next[1] - 30 * 1460, 0, kAck});
       }},
      {"after data out of order, acknowledged",
       [](Connection& tcp) {
         const std::uint32_t start = tcp.next[1];
         tcp.forge(kAck, start + 1000, 101, 1000);
         tcp.forge(kAck, start, 101, 1000);
         tcp.next[1] = start + 2000;
         tcp.send(kOut, kAck);
       }},
      {"after the VM's data", [](Connection& tcp) { tcp.send(kOut, kAck, 1460); }},
  };
  for (const Case& each : kCases) {
    Connection tcp = Connection::established();
    each.before(tcp);
    tcp.now += std::chrono::minutes(100);
    EXPECT_EQ(tcp.send(kIn, kRst), SessionState::Reset) << each.says;
    EXPECT_EQ(tcp.end(), tcp.now + kTransitory) << each.says;
  }
}

TEST(TcpTracking, ARstAheadOfLostDataIsBelievedOnceTheVmHasChallengedIt) {
  Connection tcp = Connection::established();
  const std::uint32_t lost = tcp.next[1];
  EXPECT_EQ(tcp.forge(kRst, lost + 1460), SessionState::Established);
  tcp.see(kOut, {tcp.next[0], lost, 0, kAck});  // RFC 5961 section 3.2
  EXPECT_EQ(tcp.forge(kRst, lost), SessionState::Reset);
}

TEST(TcpTracking, TheVmsOwnRstAndFinNeedNoProof) {
  Connection tcp = Connection::established();
  EXPECT_EQ(tcp.see(kOut, {5, 0, 0, kFin | kAck}), SessionState::FinOutbound);
  EXPECT_EQ(tcp.see(kOut, {5, 0, 0, kRst}), SessionState::Closing);
}

TEST(TcpTracking, WhatTheVmSendsAfterARstBringsTheConnectionBack) {
  Connection tcp = Connection::established();
  ASSERT_EQ(tcp.send(kIn, kRst), SessionState::Reset);
  EXPECT_EQ(tcp.send(kIn, kAck, 10), SessionState::Reset);  // by itself the remote brings nothing back
  EXPECT_EQ(tcp.end(), tcp.now + kTransitory);
  EXPECT_EQ(tcp.send(kOut, kAck), SessionState::Established);
  EXPECT_EQ(tcp.end(), tcp.now + kLong);
  EXPECT_EQ(tcp.send(kIn, kRst), SessionState::Reset);
}

TEST(TcpTracking, ATrueFinIsBelievedThoughDataBeforeItWereLost) {
  Connection tcp = Connection::established();
  const std::uint32_t lost = tcp.next[1];
  EXPECT_EQ(tcp.forge(kFin | kAck, lost + 1'000'000, 101, 1000), SessionState::FinInbound);
  tcp.forge(kAck, lost, 101, 1'000'000);  // repeated
  tcp.next[1] = lost + 1'001'001;
  tcp.send(kOut, kAck);
  EXPECT_EQ(tcp.send(kOut, kFin | kAck), SessionState::Closing);
  tcp.send(kIn, kAck);
  EXPECT_EQ(tcp.session().state(), SessionState::Closing);
}

TEST(TcpTracking, AFinThatWasForgedWithinTheWindowIsFoundOut) {
  Connection tcp = Connection::established();
  EXPECT_EQ(tcp.forge(kFin | kAck, tcp.next[1] + 500, 101), SessionState::FinInbound);
  tcp.send(kIn, kAck, 1460);
  EXPECT_EQ(tcp.send(kOut, kAck), SessionState::Established);
  // Half closed by the VM, it could be taken for the end.
  tcp.send(kOut, kFin | kAck);
  EXPECT_EQ(tcp.forge(kFin | kAck, tcp.next[1] + 500, 101), SessionState::Closing);
  tcp.send(kIn, kAck, 1460);
  EXPECT_EQ(tcp.send(kOut, kAck), SessionState::FinOutbound);
  EXPECT_EQ(tcp.end(), tcp.now + kLong);
  tcp.send(kIn, kFin | kAck);
  EXPECT_EQ(tcp.send(kOut, kAck), SessionState::Closing);
}

TEST(TcpTracking, DataBothWaysAfterAFalseEndEstablishItAgain) {
  Connection tcp = Connection::established();
  tcp.forge(kFin | kAck, tcp.next[1], 101);
  ASSERT_EQ(tcp.forge(kRst, tcp.next[1] + 1), SessionState::Closing);  // by one who sees the connection
  tcp.send(kIn, kAck, 1460);
  EXPECT_EQ(tcp.send(kOut, kAck, 100), SessionState::Established);
  EXPECT_EQ(tcp.end(), tcp.now + kLong);
}

// ---- what is closed ends

TEST(TcpTracking, ARemoteAloneKeepsNoSession) {
  struct Case {
    const char* says;
    void (*before)(Connection&);
    Ticks lasts;
  };
  constexpr Case kCases[] = {
      {"closed by both",
       [](Connection& tcp) {
         tcp.send(kIn, kSyn | kAck);
         tcp.send(kOut, kAck);
         tcp.send(kOut, kFin | kAck);
         tcp.send(kIn, kFin | kAck);
         tcp.send(kOut, kAck);
       },
       kTransitory},
      {"reset by the VM",
       [](Connection& tcp) {
         tcp.send(kIn, kSyn | kAck);
         tcp.send(kOut, kAck);
         tcp.send(kOut, kRst);
       },
       kTransitory},
      {"reset by the remote",
       [](Connection& tcp) {
         tcp.send(kIn, kSyn | kAck);
         tcp.send(kOut, kAck);
         tcp.send(kIn, kRst);
       },
       kTransitory},
      {"never answered", [](Connection&) {}, kTransitory},
      {"answered, and no third segment", [](Connection& tcp) { tcp.send(kIn, kSyn | kAck); }, kTransitory},
      {"established, and the VM has gone",
       [](Connection& tcp) {
         tcp.send(kIn, kSyn | kAck);
         tcp.send(kOut, kAck);
       },
       kLong},
      {"closed by the VM alone",
       [](Connection& tcp) {
         tcp.send(kIn, kSyn | kAck);
         tcp.send(kOut, kAck);
         tcp.send(kOut, kFin | kAck);
       },
       kLong},
  };
  constexpr std::uint8_t kFlags[] = {kAck, kSyn, kSyn | kAck, kFin | kAck, 0, kFin, kSyn | kFin};
  for (const Case& each : kCases) {
    for (const std::uint8_t flags : kFlags) {
      Connection tcp;
      each.before(tcp);
      const Time begin = tcp.now;
      for (unsigned i = 0; i < 100; ++i) {
        tcp.now += std::chrono::seconds(2);
        tcp.see(kIn, {tcp.next[1], flags == kAck ? 0 : tcp.next[0], i % 2, flags});
        tcp.next[1] += i % 2;
      }
      EXPECT_LE(tcp.end(), begin + each.lasts) << each.says << ", flags " << unsigned{flags};
    }
  }
}

TEST(TcpTracking, TheVmsAcknowledgementsDoNotKeepWhatBothHaveClosed) {
  Connection tcp = Connection::established();
  tcp.send(kOut, kFin | kAck);
  tcp.send(kIn, kFin | kAck);
  const Time end = tcp.end();
  tcp.now += std::chrono::minutes(1);
  tcp.send(kIn, kAck);
  EXPECT_EQ(tcp.send(kOut, kAck), SessionState::Closing);
  EXPECT_EQ(tcp.end(), end);
}

TEST(TcpTracking, KeepalivesOfTheRemoteKeepWhatTheVmAnswers) {
  Connection tcp = Connection::established();
  for (unsigned hour = 0; hour < 10; ++hour) {
    tcp.now += std::chrono::hours(2);
    tcp.forge(kAck, tcp.next[1] - 1, tcp.next[0]);
    tcp.send(kOut, kAck);
  }
  EXPECT_EQ(tcp.end(), tcp.now + kLong);
}

// ---- what is not open is not opened by a stranger

TEST(TcpTracking, WhoHasNotSeenTheVmsSynOpensNothing) {
  Connection tcp;
  EXPECT_EQ(tcp.forge(kSyn | kAck, 7, 7'000'000), SessionState::SynAcknowledged);
  EXPECT_EQ(tcp.forge(kAck, 8, 7'000'000), SessionState::SynAcknowledged);
  EXPECT_EQ(tcp.forge(kFin | kAck, 8, 7'000'000), SessionState::SynAcknowledged);
  EXPECT_EQ(tcp.forge(0, 8), SessionState::SynAcknowledged);
  EXPECT_FALSE(tcp.session().is_assured());
  tcp.send(kIn, kSyn | kAck);
  EXPECT_EQ(tcp.send(kOut, kAck), SessionState::Established);
  EXPECT_EQ(tcp.send(kIn, kRst), SessionState::Reset);  // the numbers are the remote's
}

TEST(TcpTracking, AFloodWithSpoofedSendersOpensNoConnectionToAForward) {
  Connection tcp(Connection::Opener::Remote);
  EXPECT_EQ(tcp.send(kOut, kSyn | kAck), SessionState::SynAcknowledged);
  EXPECT_EQ(tcp.forge(kAck, tcp.next[1], 7'000'000), SessionState::SynAcknowledged);
  EXPECT_EQ(tcp.send(kIn, kAck), SessionState::Established);
  EXPECT_EQ(tcp.send(kIn, kRst), SessionState::Reset);
}

TEST(TcpTracking, SimultaneousOpenNeedsTheVmsWord) {
  Connection tcp;
  EXPECT_EQ(tcp.forge(kSyn, 7), SessionState::SynCrossed);
  EXPECT_EQ(tcp.forge(kSyn | kAck, 7, 7'000'000), SessionState::SynCrossed);
  EXPECT_EQ(tcp.send(kOut, kSyn | kAck), SessionState::Established);
}

TEST(TcpTracking, DataWithASynMayBeAcknowledged) {
  for (const std::uint32_t acknowledged : {0u, 1000u}) {
    Connection tcp;
    tcp.see(kOut, {5000, 0, 1000, kSyn});
    tcp.see(kIn, {9000, 5001 + acknowledged, 300, kSyn | kAck});
    EXPECT_EQ(tcp.see(kOut, {5001 + acknowledged, 9301, 0, kAck}), SessionState::Established);
    tcp.see(kIn, {9301, 5001 + acknowledged, 300, kAck});
    EXPECT_EQ(tcp.forge(kRst, 9601), SessionState::Reset);
    Connection inbound(Connection::Opener::Remote);
    inbound.see(kOut, {5000, 900, 1000, kSyn | kAck});
    EXPECT_EQ(inbound.see(kIn, {900, 5001 + acknowledged, 0, kAck}), SessionState::Established);
  }
}

TEST(TcpTracking, ATupleThatIsOpenedAnewFollowsItsNewNumbers) {
  Connection tcp = Connection::established();
  tcp.send(kOut, kFin | kAck);
  tcp.send(kIn, kFin | kAck);
  tcp.next = {0x9000'0000, 0x1234'5678};
  EXPECT_EQ(tcp.send(kOut, kSyn), SessionState::SynOutbound);
  tcp.send(kIn, kSyn | kAck);
  EXPECT_EQ(tcp.send(kOut, kAck), SessionState::Established);
  EXPECT_EQ(tcp.send(kIn, kRst), SessionState::Reset);
  // By the remote, whom the VM answers.
  tcp.next = {0x100, 0xf000'0000};
  EXPECT_EQ(tcp.send(kIn, kSyn), SessionState::Reset);
  EXPECT_EQ(tcp.send(kOut, kSyn | kAck), SessionState::SynAcknowledged);
  tcp.send(kIn, kAck);
  EXPECT_EQ(tcp.send(kOut, kAck), SessionState::Established);
  EXPECT_EQ(tcp.send(kIn, kRst), SessionState::Reset);
}

}  // namespace
}  // namespace vmnat::conntrack
