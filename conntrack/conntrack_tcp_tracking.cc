// SPDX-License-Identifier: Apache-2.0
// Which segments of the remote are believed, and what they change. Runs once or twice in a connection's life.
//
// A frame from outside names the remote, which need not have sent it. So a segment that ends, shortens or
// opens a connection has to show that its sender has seen the other direction, as RFC 5961 and Linux's
// conntrack ask. One number a session suffices: the VM's own segments need no proof, since the switch knows
// their port.
//
//   VM      SYN 100                          sequence 101: what the answer has to acknowledge
//   remote  SYN 900, ACK 101                 believed: the VM's number is acknowledged
//   VM      ACK 901                          established; sequence 901: what the remote sends next
//   remote  data [901, 1001)                 in order: 1001
//   stranger RST 70000                       not 1001: nothing changes. The frame passes; the VM decides
//   remote  RST 1001                         believed: Reset
//
// A RST has to be exact. A RST that is not exact, of a remote whose data were lost, makes the VM send a
// challenge (RFC 5961 section 3.2); the remote answers it by an exact RST, which is believed. A FIN may be
// ahead of what has come in order, by as much as may be on its way: it is not repeated once it has been
// acknowledged, and by itself it shortens nothing. When a false FIN has been believed, what the VM
// acknowledges beyond it shows that.
//
// A connection that is picked up in mid-stream has no SYN to acknowledge. Here the VM says which number it
// expects next. A segment of the remote near to that number shows that the connection goes on; a RST with
// exactly that number shows that it does not.
//
//   VM      data [500, 600), ACK 901         PickedUpOutbound; sequence 901
//   remote  ACK 600, data [901, 1001)        near 901: Established
//
// Only the VM renews the time of a session: it acknowledges what it is sent as long as it knows of the
// connection. So no remote keeps a session that the VM has ended, or one that nobody has answered.
#include "conntrack/conntrack.h"

namespace vmnat::conntrack {
namespace {

// Sequence numbers are modulo 2^32, and so are all differences here.
constexpr std::uint32_t kOnItsWay = 4u << 20;    // bytes: Linux lets a VM's receive window grow to 3 MB
constexpr std::uint32_t kRepeated = 64u << 10;   // of a FIN that is sent again with data before it
constexpr std::uint32_t kEarlyData = 64u << 10;  // sent with a SYN (RFC 7413), acknowledged or not

// A connection that opens: whoever has not seen the VM's SYN cannot acknowledge it.
bool acknowledges_syn(const Session& session, const TcpSegment& segment) {
  return segment.has(net::TcpHeader::kAck) && segment.acknowledged - session.sequence() <= kEarlyData;
}

// In these states sequence() is the number that the remote sends next.
bool is_followed(SessionState state) {
  return is_live(state) || state == SessionState::PickedUpOutbound;
}

bool is_near(const Session& session, const TcpSegment& segment) {
  return segment.sequence - (session.sequence() - kRepeated) <= kRepeated + kOnItsWay;
}

bool is_believable(const Session& session, const TcpSegment& segment, SessionState next) {
  if (!is_followed(session.state())) return !is_live(next) || acknowledges_syn(session, segment);
  switch (tcp_event(segment.flags)) {
    case TcpEvent::Rst:
      return segment.sequence == session.sequence();
    case TcpEvent::Fin:
      return is_near(session, segment);
    default:
      return next == session.state() || is_near(session, segment);
  }
}

// Notes what the VM's segment says of the remote's numbers.
void learn_from_vm(Session& session, const TcpSegment& segment, SessionState next) {
  if (is_opening(next)) {
    if (segment.has(net::TcpHeader::kSyn)) session.set_sequence(segment.sequence + 1);
  } else if (segment.has(net::TcpHeader::kAck) && !segment.has(net::TcpHeader::kRst)) {
    if (is_live(session.state()))
      session.track<Direction::Outbound>(segment);
    else if (is_followed(next))
      session.set_sequence(segment.acknowledged);
  }
}

void learn_from_remote(Session& session, const TcpSegment& segment, SessionState next) {
  const bool is_followed_on = is_followed(session.state());
  const bool establishes = !is_followed_on && is_live(next);
  const bool is_last = is_followed_on && tcp_event(segment.flags) == TcpEvent::Fin &&
                       segment.end() - session.sequence() <= kOnItsWay;
  if (establishes || is_last)
    session.set_sequence(segment.end());
  else if (session.state() == SessionState::PickedUpOutbound)
    session.track<Direction::Inbound>(segment);
}

// A remote that has closed sends nothing more that could be acknowledged.
bool shows_that_it_lives(const Session& session, const TcpSegment& segment) {
  return session.state() == SessionState::Closing && tcp_event(segment.flags) == TcpEvent::Segment &&
         segment.has(net::TcpHeader::kAck) && session.sequence() - segment.acknowledged > kOnItsWay;
}

}  // namespace

void Conntrack::change_state(Session& session, SessionState next, Time now) {
  session.set_state(next);
  announce(EventKind::Changed, session, now);
}

void Conntrack::advance_outbound(Session& session, const TcpSegment& segment, Time now) {
  const SessionState state = session.state();
  SessionState next = tcp_state_after(state, Direction::Outbound, segment.flags);
  // The end was believed by mistake; as a rule, only of a connection that the VM had half closed.
  if (shows_that_it_lives(session, segment))
    next = segment.payload != 0 ? SessionState::Established : SessionState::FinOutbound;
  learn_from_vm(session, segment, next);
  if (next != state) change_state(session, next, now);
  if (next != state || !is_ending(state)) session.refresh(now);
}

void Conntrack::advance_inbound(Session& session, const TcpSegment& segment, Time now) {
  const SessionState state = session.state();
  const SessionState next = tcp_state_after(state, Direction::Inbound, segment.flags);
  // The VM's third segment, which follows anyway, says that the connection is open.
  if (is_opening(state) && is_live(next) && session.opener() == Direction::Outbound) return;
  if (!is_believable(session, segment, next)) {
    counters_.disbelieved.add(1);
    return;
  }
  learn_from_remote(session, segment, next);
  if (next == state) return;
  change_state(session, next, now);
  if (is_live(state) && is_ending(next)) session.refresh(now);  // its time begins
}

}  // namespace vmnat::conntrack
