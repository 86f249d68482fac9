// SPDX-License-Identifier: Apache-2.0
// Fragments: the first one decides, later ones follow. Cold: a burst without fragments is not looked at.
//
// Only the first fragment names the session. `collect` gives every later one its datagram's ports, that is
// its FlowKey, and from there it goes the way of any packet: it finds the session that the first one found or
// opened, is translated (its address; ports and checksum stand in the first), turned round or refused. What
// arrives before the first waits in the FragmentTable; `forward_released` sends it after. Example:
//
//   192.168.122.10 > 198.51.100.7 udp id 7 [0, 1480) ports 5000 > 53    opens or finds the session
//   192.168.122.10 > 198.51.100.7 udp id 7 [1480, 2008)                 the same key: the same session
//
// All fragments of a datagram arrive on one queue, and so with one worker: a port has one, and NICs with more
// spread fragments by their addresses. When the session is another worker's, fragments cross to it with their
// ports written on them (FrameNote), the first ahead of the rest. Protocols without ports need none of this.
//
// A later fragment opens nothing and is never told about (RFC 1122 3.2.2). One for the gateway is answered if
// its datagram is an echo request: an answer can be made fragment by fragment, too.
//
// Identification: fragmented datagrams leave by the uplink with a number of ours (datagram_numbers.h), all
// fragments with the same. Inbound ones keep theirs: only one VM knows this remote by this external address
// and port. Datagrams that leave whole keep theirs as well, whatever becomes of them on their way.
#pragma once

#include "base/ids.h"
#include "dataplane/context/context.h"

namespace vmnat::dataplane {

// Before that, on a port with several queues: a datagram's fragments come together at one worker.
template <Direction direction>
[[gnu::cold]] void gather_fragments(Context& context, Burst& burst);

// After switching, before steering: fragments get their key, wait, or end.
template <Direction direction>
[[gnu::cold]] void collect_fragments(Context& context, Burst& burst);

// Instead of that for frames that another worker has collected, or that control gives back.
template <Direction direction>
[[gnu::cold]] void recall_fragments(Burst& burst);

// After translation of outbound frames: the datagram's new number.
[[gnu::cold]] void renumber(Burst& burst);

// Sends what has waited and whose first fragment has come. To be called once a poll when there is some.
[[gnu::cold]] void forward_released(Context& context);

// True when the packet is a later fragment, which no session is opened for.
inline bool is_later_fragment(const ParsedPacket& packet) {
  return packet.kind == PacketKind::LaterFragment || packet.kind == PacketKind::LaterEchoFragment;
}

extern template void gather_fragments<Direction::Outbound>(Context&, Burst&);
extern template void gather_fragments<Direction::Inbound>(Context&, Burst&);
extern template void collect_fragments<Direction::Outbound>(Context&, Burst&);
extern template void collect_fragments<Direction::Inbound>(Context&, Burst&);
extern template void recall_fragments<Direction::Outbound>(Burst&);
extern template void recall_fragments<Direction::Inbound>(Burst&);

}  // namespace vmnat::dataplane
