// SPDX-License-Identifier: Apache-2.0
// The TCP transitions: every (direction, state, event), a reason each.
#include "conntrack/tcp_state.h"

namespace vmnat::conntrack {
namespace {

// Three letters each, so that the table below reads as one.
// NOLINTBEGIN(readability-identifier-naming)
constexpr auto Fre = SessionState::Free;
constexpr auto SyO = SessionState::SynOutbound;
constexpr auto SyI = SessionState::SynInbound;
constexpr auto SyX = SessionState::SynCrossed;
constexpr auto SyA = SessionState::SynAcknowledged;
constexpr auto Est = SessionState::Established;
constexpr auto FiO = SessionState::FinOutbound;
constexpr auto FiI = SessionState::FinInbound;
constexpr auto Clo = SessionState::Closing;
constexpr auto Rst = SessionState::Reset;
constexpr auto PiO = SessionState::PickedUpOutbound;
constexpr auto PiI = SessionState::PickedUpInbound;
constexpr auto Udp = SessionState::OpenUdp;
constexpr auto Ask = SessionState::AskedUdp;
constexpr auto Icm = SessionState::OpenIcmp;
constexpr auto Oth = SessionState::OpenOther;
// NOLINTEND(readability-identifier-naming)

using Rows = std::array<TcpRow, kSessionStates>;

// clang-format off
constexpr Rows kOutbound = {{
  //          SYN  SYN+ACK segment FIN  RST
  /* Free */ {Fre, Fre, Fre, Fre, Fre},  // no session: nothing to advance
  /* SyO  */ {SyO, SyO, SyO, Clo, Rst},  // retransmitted SYN; data before the answer proves nothing; FIN: gave up
  /* SyI  */ {SyX, SyA, SyI, Clo, Rst},  // SYN: simultaneous open; SYN+ACK: accepted; FIN/RST: declined
  /* SyX  */ {SyX, Est, SyX, Clo, Rst},  // SYN+ACK: both SYNs were deliberate and one is now answered
  /* SyA  */ {SyA, SyA, Est, FiO, Rst},  // the third segment opens (RFC 5382 REQ-5: established from here)
  /* Est  */ {Est, Est, Est, FiO, Rst},  // a SYN in a live connection draws a challenge ACK (RFC 9293): no change
  /* FiO  */ {FiO, FiO, FiO, FiO, Clo},  // FIN again: retransmitted; RST after FIN: the usual abort, final
  /* FiI  */ {FiI, FiI, FiI, Clo, Clo},  // data may flow on half-closed; FIN: both ways now
  /* Clo  */ {SyO, SyA, Clo, Clo, Clo},  // a new SYN, or the answer to one, reopens the tuple; last ACKs do not
  /* Rst  */ {SyO, SyA, Est, FiO, Rst},  // SYN: anew; anything but RST: the VM did not believe it (RFC 7857 2.2)
  /* PiO  */ {SyO, SyA, PiO, Clo, Rst},  // SYN: anew; the remote's segment is missing; FIN: gave up
  /* PiI  */ {SyO, SyA, Est, FiO, Rst},  // segment: the VM knows the connection; RST: it does not
  /* Udp  */ {Udp, Udp, Udp, Udp, Udp},  // not TCP
  /* Ask  */ {Ask, Ask, Ask, Ask, Ask},
  /* Icm  */ {Icm, Icm, Icm, Icm, Icm},
  /* Oth  */ {Oth, Oth, Oth, Oth, Oth},
}};

constexpr Rows kInbound = {{
  //          SYN  SYN+ACK segment FIN  RST
  /* Free */ {Fre, Fre, Fre, Fre, Fre},  // no session: nothing to advance
  /* SyO  */ {SyX, SyA, SyO, SyO, Rst},  // SYN: simultaneous open; a segment or FIN before SYN: not of this connection
  /* SyI  */ {SyI, SyI, SyI, Clo, Rst},  // retransmitted SYN; FIN: gave up
  /* SyX  */ {SyX, Est, SyX, Clo, Rst},  // SYN+ACK: our SYN is answered
  /* SyA  */ {SyA, SyA, Est, FiI, Rst},  // the third segment of a connection from outside, or first data
  /* Est  */ {Est, Est, Est, FiI, Rst},  // RST: transitory, not gone (RFC 7857 section 2.2)
  /* FiO  */ {FiO, FiO, FiO, Clo, Clo},  // FIN: both ways now; RST: nothing more will come
  /* FiI  */ {FiI, FiI, FiI, FiI, Clo},  // FIN again: retransmitted
  /* Clo  */ {Clo, Clo, Clo, Clo, Clo},  // the remote may reopen from TIME-WAIT (RFC 9293 MAY-2): the VM's answer shows
  /* Rst  */ {Rst, Rst, Rst, Rst, Rst},  // the same: what the VM says of it counts, for a stranger says anything
  /* PiO  */ {PiO, PiO, Est, FiI, Rst},  // a SYN is not of a connection in mid-stream
  /* PiI  */ {SyI, PiI, PiI, Clo, Rst},  // SYN: the remote begins anew; FIN: gave up
  /* Udp  */ {Udp, Udp, Udp, Udp, Udp},  // not TCP
  /* Ask  */ {Ask, Ask, Ask, Ask, Ask},
  /* Icm  */ {Icm, Icm, Icm, Icm, Icm},
  /* Oth  */ {Oth, Oth, Oth, Oth, Oth},
}};
// clang-format on

}  // namespace

const std::array<std::array<TcpRow, kSessionStates>, 2> kNextTcpState = {kOutbound, kInbound};

const char* to_string(SessionState state) {
  switch (state) {
    case SessionState::Free:
      return "free";
    case SessionState::SynOutbound:
      return "syn_sent";
    case SessionState::SynInbound:
      return "syn_received";
    case SessionState::SynCrossed:
      return "syn_crossed";
    case SessionState::SynAcknowledged:
      return "syn_acknowledged";
    case SessionState::Established:
      return "established";
    case SessionState::FinOutbound:
      return "fin_outbound";
    case SessionState::FinInbound:
      return "fin_inbound";
    case SessionState::Closing:
      return "closing";
    case SessionState::Reset:
      return "reset";
    case SessionState::PickedUpOutbound:
    case SessionState::PickedUpInbound:
      return "picked_up";
    case SessionState::OpenUdp:
    case SessionState::AskedUdp:
    case SessionState::OpenIcmp:
    case SessionState::OpenOther:
      return "open";
  }
  return "unknown";
}

}  // namespace vmnat::conntrack
