// SPDX-License-Identifier: Apache-2.0
// The states of a session, and how TCP segments change them: RFC 7857 section 2 as one table.
//
//   SynOutbound -SYN+ACK in-> SynAcknowledged -ACK-> Established -FIN one way-> FinOutbound / FinInbound
//   -FIN the other way-> Closing.   RST: Reset, from which the VM's later segments bring a live connection
//   back.
//
//   PickedUpOutbound -segment in-> Established, PickedUpInbound -segment out-> Established: a connection
//   older than its session (MidStream::PickUp). The VM's SYN, or its SYN+ACK, begins another one.
//
// The table is about segments that are believed; conntrack_tcp_tracking.cc decides which of the remote's are.
// The timeout follows from the state alone, so expiry reads one byte.
#pragma once

#include <array>
#include <cstdint>

#include "base/ids.h"
#include "conntrack/flow_key.h"

namespace vmnat::conntrack {

enum class SessionState : std::uint8_t {
  Free,             // no session in this record
  SynOutbound,      // the VM asked to connect
  SynInbound,       // the remote asked to connect (a forward, or filtering lets it)
  SynCrossed,       // both asked: simultaneous open (RFC 9293 section 3.5)
  SynAcknowledged,  // asked and answered, the third segment is missing
  Established,
  FinOutbound,       // the VM has closed its direction
  FinInbound,        // the remote has closed its direction
  Closing,           // both have, or one has and then reset
  Reset,             // a RST was seen, perhaps a forged one
  PickedUpOutbound,  // the VM goes on with a connection that has no session
  PickedUpInbound,   // the remote does
  OpenUdp,
  AskedUdp,  // a question to a well-known service, and its answers; after a second question OpenUdp
  OpenIcmp,
  OpenOther,
};
inline constexpr auto kSessionStates = static_cast<unsigned>(SessionState::OpenOther) + 1;

enum class TimeoutClass : std::uint8_t { TcpEstablished, TcpTransitory, Udp, UdpAnswered, Icmp, Other };

// "syn_sent", "syn_received", "syn_crossed", "syn_acknowledged", "established", "fin_outbound",
// "fin_inbound", "closing", "reset", "picked_up"; "open" for what is not TCP; "free".
const char* to_string(SessionState state);

// One side's half-close keeps the long timeout: a connection may rest half-closed for hours (RFC 6146
// section 3.5.2.2 gives these states TCP_EST). All others are transitory (RFC 5382 REQ-5).
constexpr TimeoutClass timeout_class(SessionState state) {
  switch (state) {
    case SessionState::Established:
    case SessionState::FinOutbound:
    case SessionState::FinInbound:
      return TimeoutClass::TcpEstablished;
    case SessionState::OpenUdp:
      return TimeoutClass::Udp;
    case SessionState::AskedUdp:
      return TimeoutClass::UdpAnswered;
    case SessionState::OpenIcmp:
      return TimeoutClass::Icmp;
    case SessionState::OpenOther:
      return TimeoutClass::Other;
    default:
      return TimeoutClass::TcpTransitory;
  }
}

constexpr bool is_tcp(SessionState state) {
  return state != SessionState::Free && state < SessionState::OpenUdp;
}
constexpr bool is_opening(SessionState state) {
  return state != SessionState::Free && state < SessionState::Established;
}
// Both sides may expect the other to be there. The states are neighbours, so one comparison suffices.
constexpr bool is_live(SessionState state) {
  return static_cast<unsigned>(state) - static_cast<unsigned>(SessionState::Established) <= 2;
}
static_assert(is_live(SessionState::FinOutbound) && is_live(SessionState::FinInbound) &&
              !is_live(SessionState::SynAcknowledged) && !is_live(SessionState::Closing));
constexpr bool is_ending(SessionState state) {
  return state == SessionState::Closing || state == SessionState::Reset;
}

// The fields of a segment that a session looks at.
struct TcpSegment {
  std::uint32_t sequence;
  std::uint32_t acknowledged;  // meaningful with ACK
  std::uint32_t payload;       // bytes
  std::uint8_t flags;

  [[nodiscard]] constexpr bool has(std::uint8_t flag) const { return (flags & flag) != 0; }
  // The sequence number of the next segment: SYN and FIN have a number, too (RFC 9293 section 3.4).
  [[nodiscard]] constexpr std::uint32_t end() const {
    return sequence + payload + has(net::TcpHeader::kSyn) + has(net::TcpHeader::kFin);
  }
};

// What a segment says, the strongest flag first: RST over SYN over FIN.
enum class TcpEvent : std::uint8_t { Syn, SynAck, Segment, Fin, Rst };
inline constexpr auto kTcpEvents = static_cast<unsigned>(TcpEvent::Rst) + 1;

constexpr TcpEvent tcp_event(std::uint8_t flags) {
  if (flags & net::TcpHeader::kRst) return TcpEvent::Rst;
  if (flags & net::TcpHeader::kSyn) return flags & net::TcpHeader::kAck ? TcpEvent::SynAck : TcpEvent::Syn;
  return flags & net::TcpHeader::kFin ? TcpEvent::Fin : TcpEvent::Segment;
}

// kNextTcpState[direction][state][event].
using TcpRow = std::array<SessionState, kTcpEvents>;
extern const std::array<std::array<TcpRow, kSessionStates>, 2> kNextTcpState;

inline SessionState tcp_state_after(SessionState state, Direction direction, std::uint8_t flags) {
  return kNextTcpState[static_cast<unsigned>(direction)][static_cast<unsigned>(state)]
                      [static_cast<unsigned>(tcp_event(flags))];
}

}  // namespace vmnat::conntrack
