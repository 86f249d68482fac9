// SPDX-License-Identifier: Apache-2.0
// Fragments: the first one decides, later ones follow. Cold: a burst without fragments is not looked at.
//
// Only the first fragment names the session. `assign_keys` gives every later one its datagram's ports, that
// is its FlowKey, and from there it goes the way of any packet: it finds the session that the first one found
// or opened, is translated (its address; ports and checksum stand in the first), turned round or refused. A
// fragment that arrives before the first waits in the FragmentTable, which releases it then. Example:
//
//   192.168.122.10 > 198.51.100.7 udp id 7 [0, 1480) ports 5000 > 53    opens or finds the session
//   192.168.122.10 > 198.51.100.7 udp id 7 [1480, 2008)                 the same key: the same session
//
// One worker, the gatherer, has all fragments of a datagram: the one that polls the port, or where several
// do, the one that a hash of the addresses chooses, so that a flow's datagrams stay in order. When the session is
// another worker's, fragments cross to it with their ports written on them (FrameNote), the first ahead of the
// rest. Protocols without ports need none of this.
//
// A later fragment opens no session and never causes an ICMP error (RFC 1122 3.2.2). One for the gateway is
// answered if its datagram is an echo request: a reply can be made fragment by fragment, too.
//
// Identification: fragmented datagrams leave by the uplink with a number of ours (datagram_numbers.h), the
// same for all fragments. Inbound datagrams keep theirs: one VM alone knows this remote by this external
// address and port. Datagrams that leave whole keep theirs as well, whatever becomes of them on their way.
#pragma once

#include "base/ids.h"
#include "dataplane/context/context.h"

namespace vmnat::dataplane {

// Behind the switch. On a port with several queues, hands each fragment over to the worker that gathers its
// datagram.
template <Direction direction>
[[gnu::cold]] void send_to_gatherer(Context& context, Burst& burst);

// At the gatherer, before steering: each fragment gets its datagram's key, waits for it, or ends.
template <Direction direction>
[[gnu::cold]] void assign_keys(Context& context, Burst& burst);

// In place of that for fragments that have their key on their notes: those that have waited, and those that
// another worker has gathered.
template <Direction direction>
[[gnu::cold]] void restore_keys(Burst& burst);

// After translation of outbound frames: the datagram's new number.
[[gnu::cold]] void renumber(Burst& burst);

// True when the packet is a later fragment, which no session is opened for.
inline bool is_later_fragment(const ParsedPacket& packet) {
  return packet.kind == PacketKind::LaterFragment || packet.kind == PacketKind::LaterEchoFragment;
}

extern template void send_to_gatherer<Direction::Outbound>(Context&, Burst&);
extern template void send_to_gatherer<Direction::Inbound>(Context&, Burst&);
extern template void assign_keys<Direction::Outbound>(Context&, Burst&);
extern template void assign_keys<Direction::Inbound>(Context&, Burst&);
extern template void restore_keys<Direction::Outbound>(Burst&);
extern template void restore_keys<Direction::Inbound>(Burst&);

}  // namespace vmnat::dataplane
