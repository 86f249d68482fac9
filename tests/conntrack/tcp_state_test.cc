// SPDX-License-Identifier: Apache-2.0
// Every (direction, state, event) of the TCP table against a description written on its own, as rules.
#include "conntrack/tcp_state.h"

#include <gtest/gtest.h>

namespace vmnat::conntrack {
namespace {

using S = SessionState;

bool has_tcp(S state) {
  return state != S::Free && state < S::OpenUdp;
}

// A TCP session as facts about either side, from which its state follows: another way to say the table.
struct Facts {
  bool picked_up[2] = {false, false};  // this side goes on with an older connection; the other has not yet
  bool syn[2] = {false, false};        // this side sent a SYN; an answer SYN+ACK counts
  bool plain_syn[2] = {false, false};
  bool fin[2] = {false, false};
  bool open = false;   // handshake complete
  bool reset = false;  // a RST was the last word
  bool over = false;   // nothing but a new handshake brings it back
};

Facts facts_of(S state) {
  switch (state) {
    case S::SynOutbound:
      return {.syn = {true, false}, .plain_syn = {true, false}};
    case S::SynInbound:
      return {.syn = {false, true}, .plain_syn = {false, true}};
    case S::SynCrossed:
      return {.syn = {true, true}, .plain_syn = {true, true}};
    case S::SynAcknowledged:
      return {.syn = {true, true}};
    case S::Established:
      return {.syn = {true, true}, .open = true};
    case S::FinOutbound:
      return {.syn = {true, true}, .fin = {true, false}, .open = true};
    case S::FinInbound:
      return {.syn = {true, true}, .fin = {false, true}, .open = true};
    case S::Closing:
      return {.over = true};
    case S::Reset:
      return {.reset = true};
    case S::PickedUpOutbound:
      return {.picked_up = {true, false}};
    case S::PickedUpInbound:
      return {.picked_up = {false, true}};
    default:
      return {};
  }
}

S state_of(const Facts& facts) {
  if (facts.over || (facts.fin[0] && facts.fin[1])) return S::Closing;
  if (facts.reset) return S::Reset;
  if (facts.picked_up[0]) return S::PickedUpOutbound;
  if (facts.picked_up[1]) return S::PickedUpInbound;
  if (facts.fin[0]) return S::FinOutbound;
  if (facts.fin[1]) return S::FinInbound;
  if (facts.open) return S::Established;
  if (facts.plain_syn[0] && facts.plain_syn[1]) return S::SynCrossed;
  if (facts.syn[0] && facts.syn[1]) return S::SynAcknowledged;
  return facts.syn[0] ? S::SynOutbound : S::SynInbound;
}

void see_rst(Facts& facts) {
  if (facts.fin[0] || facts.fin[1]) facts.over = true;
  facts.reset = true;
}

void see_fin(Facts& facts, unsigned side) {
  const bool handshake_done = facts.syn[0] && facts.syn[1] && !(facts.plain_syn[0] && facts.plain_syn[1]);
  if (facts.reset) {
    if (side == 1) return;
    facts = {.syn = {true, true}, .open = true};
  } else if (!handshake_done) {
    // A FIN before the handshake ends the attempt; but a remote that has not even answered cannot.
    if (facts.syn[side] || side == 0) facts.over = true;
    return;
  }
  facts.fin[side] = true;
}

void see_syn(Facts& facts, unsigned side) {
  if (facts.over || facts.reset) {
    if (side == 1) return;  // the VM's answer shows whether it lets the remote open it anew
    facts = {};
  }
  if (facts.open) return;
  if (facts.syn[0] && facts.syn[1] && !facts.plain_syn[side]) return;  // after SYN and SYN+ACK: a repetition
  facts.syn[side] = facts.plain_syn[side] = true;
}

void see_syn_ack(Facts& facts, unsigned side) {
  if (facts.open) return;
  if (facts.over || facts.reset) {
    if (side == 0) facts = {.syn = {true, true}};
    return;
  }
  const bool crossed = facts.plain_syn[0] && facts.plain_syn[1];
  if (crossed) {
    facts.open = true;
  } else if (!facts.syn[side]) {
    facts.syn[side] = true;
    facts.plain_syn[0] = facts.plain_syn[1] = false;
  }
}

void see_segment(Facts& facts, unsigned side) {
  if (facts.over || (facts.reset && side == 1)) return;
  if (facts.reset) facts = {.syn = {true, true}};
  const bool crossed = facts.plain_syn[0] && facts.plain_syn[1];
  if (facts.syn[0] && facts.syn[1] && !crossed) facts.open = true;
}

// What the other side sends shows that there is a connection; the side itself, that it gives it up. Either VM
// or remote may begin another one, but nobody for the VM.
void see_of_picked_up(Facts& facts, unsigned side, TcpEvent event) {
  const bool is_own = facts.picked_up[side];
  const bool starts = event == TcpEvent::Syn || event == TcpEvent::SynAck;
  if (event == TcpEvent::Rst) {
    facts = {.reset = true};
  } else if (starts && side == 0) {
    facts = {.syn = {true, event == TcpEvent::SynAck}, .plain_syn = {event == TcpEvent::Syn, false}};
  } else if (starts) {
    if (is_own && event == TcpEvent::Syn) facts = {.syn = {false, true}, .plain_syn = {false, true}};
  } else if (!is_own) {
    facts = {.syn = {true, true}, .open = true};
    facts.fin[side] = event == TcpEvent::Fin;
  } else if (event == TcpEvent::Fin) {
    facts = {.over = true};
  }
}

S expected(S state, Direction direction, TcpEvent event) {
  if (!has_tcp(state)) return state;
  Facts facts = facts_of(state);
  const auto side = static_cast<unsigned>(direction);
  if (facts.picked_up[0] || facts.picked_up[1]) {
    see_of_picked_up(facts, side, event);
    return state_of(facts);
  }
  if (facts.over && event != TcpEvent::Syn && event != TcpEvent::SynAck) return state;
  switch (event) {
    case TcpEvent::Syn:
      see_syn(facts, side);
      break;
    case TcpEvent::SynAck:
      see_syn_ack(facts, side);
      break;
    case TcpEvent::Segment:
      see_segment(facts, side);
      break;
    case TcpEvent::Fin:
      see_fin(facts, side);
      break;
    case TcpEvent::Rst:
      see_rst(facts);
      break;
  }
  return state_of(facts);
}

TEST(TcpState, EveryTransitionIsWhatTheRulesSay) {
  for (const Direction direction : {Direction::Outbound, Direction::Inbound}) {
    for (unsigned state = 0; state < kSessionStates; ++state) {
      for (unsigned event = 0; event < kTcpEvents; ++event) {
        const S from = static_cast<S>(state);
        const S to = kNextTcpState[static_cast<unsigned>(direction)][state][event];
        EXPECT_EQ(to_string(to),
                  std::string(to_string(expected(from, direction, static_cast<TcpEvent>(event)))))
            << to_string(from) << (direction == Direction::Outbound ? " outbound" : " inbound") << " event "
            << event;
        EXPECT_EQ(timeout_class(to), timeout_class(expected(from, direction, static_cast<TcpEvent>(event))));
      }
    }
  }
}

TEST(TcpState, RstOutweighsSynAndSynOutweighsFin) {
  using Tcp = net::TcpHeader;
  for (unsigned flags = 0; flags < 256; ++flags) {
    const TcpEvent event = tcp_event(static_cast<std::uint8_t>(flags));
    if (flags & Tcp::kRst)
      EXPECT_EQ(event, TcpEvent::Rst);
    else if (flags & Tcp::kSyn)
      EXPECT_EQ(event, flags & Tcp::kAck ? TcpEvent::SynAck : TcpEvent::Syn);
    else
      EXPECT_EQ(event, flags & Tcp::kFin ? TcpEvent::Fin : TcpEvent::Segment);
  }
}

TEST(TcpState, OnlyOpenConnectionsHaveTheLongTimeout) {
  for (unsigned i = 0; i < kSessionStates; ++i) {
    const auto state = static_cast<S>(i);
    const bool is_long = state == S::Established || state == S::FinOutbound || state == S::FinInbound;
    EXPECT_EQ(timeout_class(state) == TimeoutClass::TcpEstablished, is_long) << to_string(state);
  }
}

}  // namespace
}  // namespace vmnat::conntrack
