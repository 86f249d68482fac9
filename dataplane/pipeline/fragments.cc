// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/fragments.h"

#include "base/fibonacci_hash.h"
#include "dataplane/detours/local.h"
#include "dataplane/pipeline/parse.h"
#include "dataplane/pipeline/steer.h"
#include "net/checksum.h"

namespace vmnat::dataplane {
namespace {

constexpr unsigned kUnit = 8;  // RFC 791: of fragment offsets
constexpr unsigned kLongestPayload = 65535 - sizeof(net::Ipv4Header);

bool is_first(const net::Ipv4Header& ip) {
  return ip.fragment_offset() == 0;
}

std::optional<DropReason> refusal_by_place(const net::Ipv4Header& ip) {
  const auto length = static_cast<unsigned>(ip.total_length.host() - ip.header_length());
  const unsigned begin = ip.fragment_offset() * kUnit;
  if (length == 0 || begin + length > kLongestPayload || (ip.more_fragments() && length % kUnit != 0))
    return DropReason::FragmentLength;
  // RFC 3128: the first fragment has the whole TCP header, or is none that passes.
  if (ip.protocol() == net::Protocol::Tcp && begin != 0 && begin < sizeof(net::TcpHeader))
    return DropReason::FragmentTiny;
  return std::nullopt;
}

// What the first fragment would be refused for, too, without a place in the table.
template <Direction direction>
std::optional<DropReason> refusal_by_address(const Context& context, PortIndex port,
                                             const net::Ipv4Header& ip) {
  if constexpr (direction == Direction::Outbound) {
    if (!context.state->network_at(port).has_host(ip.source)) return DropReason::SourceForeign;
  } else {
    if (!context.state->is_external(ip.destination) && !context.state->is_shown_outside(ip.destination))
      return DropReason::NotExternal;
  }
  return std::nullopt;
}

Piece piece_of(const net::Ipv4Header& ip, PortIndex port, Direction direction) {
  const unsigned begin = ip.fragment_offset() * kUnit;
  const auto length = static_cast<unsigned>(ip.total_length.host() - ip.header_length());
  return {.key = DatagramKey::of(ip, port, direction),
          .port = port,
          .direction = direction,
          .begin = static_cast<std::uint16_t>(begin),
          .end = static_cast<std::uint16_t>(begin + length),
          .is_last = !ip.more_fragments()};
}

// The local endpoint is the source of outbound frames.
template <Direction direction>
FlowKey key_of(const net::Ipv4Header& ip, const Lead& lead) {
  const bool is_outbound = direction == Direction::Outbound;
  return FlowKey::of({is_outbound ? ip.source : ip.destination, lead.local_port},
                     {is_outbound ? ip.destination : ip.source, lead.remote_port}, ip.protocol());
}

// The same for all datagrams of a flow: by two ways one would overtake another.
WorkerIndex gatherer_of(const Context& context, const net::Ipv4Header& ip) {
  const std::uint64_t addresses = std::uint64_t{ip.source.raw()} << 32 | ip.destination.raw();
  return static_cast<WorkerIndex>(scaled_below(context.worker_count, fibonacci_hash(addresses)));
}

// Makes a later fragment one of its datagram's packets.
template <Direction direction>
void follow(Burst& burst, unsigned i, const Lead& lead) {
  const net::Ipv4Header& ip = ipv4_of(burst.frames[i]);
  burst.packets[i] = {
      .kind = lead.kind,
      .l4_offset = static_cast<std::uint8_t>(sizeof(net::EthernetHeader) + ip.header_length()),
      .total_length = ip.total_length.host(),
      .new_id = lead.new_id};
  burst.keys[i] = key_of<direction>(ip, lead);
  lead.write(note_of(burst.frames[i]));
}

template <Direction direction>
Lead lead_of(Context& context, const Burst& burst, unsigned i) {
  const net::Ipv4Header& ip = ipv4_of(burst.frames[i]);
  const FlowKey& key = burst.keys[i];
  const bool is_echo = is_echo_request(burst.frames[i], burst.packets[i]);
  return {.local_port = key.local_endpoint().port,
          .remote_port = key.remote_endpoint().port,
          .new_id = direction == Direction::Outbound
                        ? context.datagram_numbers.next(ip.destination, ip.protocol_number)
                        : std::uint16_t{0},
          .kind = is_echo ? PacketKind::LaterEchoFragment : PacketKind::LaterFragment};
}

template <Direction direction>
FragmentTable::Verdict admit_first(Context& context, Burst& burst, unsigned i, const Piece& piece) {
  parse_first_fragment<direction>(burst, i);
  ParsedPacket& packet = burst.packets[i];
  if (packet.kind == PacketKind::Unroutable) {
    const auto fault = packet.fault == DropReason::L4Header ? DropReason::FragmentTiny : packet.fault;
    context.fragments.condemn(piece, fault, context.now);
    return {FragmentTable::Fate::Refused, fault};
  }
  const auto verdict =
      context.fragments.admit_first(piece, lead_of<direction>(context, burst, i), context.now);
  packet.new_id = note_of(burst.frames[i]).new_id = verdict.lead.new_id;
  return verdict;
}

// True when the frame goes on, with its key.
template <Direction direction>
bool assign_key(Context& context, Burst& burst, unsigned i) {
  rte_mbuf* frame = burst.frames[i];
  const net::Ipv4Header& ip = ipv4_of(frame);
  context.counters.fragments_seen.add(1);
  auto refusal = refusal_by_address<direction>(context, burst.ports[i], ip);
  if (!refusal) refusal = refusal_by_place(ip);
  if (refusal) {
    context.drop(frame, burst.ports[i], *refusal);
    return false;
  }
  const Piece piece = piece_of(ip, burst.ports[i], direction);
  const auto verdict = is_first(ip) ? admit_first<direction>(context, burst, i, piece)
                                    : context.fragments.admit_later(piece, frame, context.now);
  if (verdict.fate == FragmentTable::Fate::Refused) context.drop(frame, burst.ports[i], verdict.reason);
  if (verdict.fate != FragmentTable::Fate::Pass) return false;
  if (!is_first(ip)) follow<direction>(burst, i, verdict.lead);
  return true;
}

}  // namespace

template <Direction direction>
void send_to_gatherer(Context& context, Burst& burst) {
  constexpr auto errand =
      direction == Direction::Outbound ? FrameNote::Errand::RouteOutbound : FrameNote::Errand::RouteInbound;
  burst.keep_if([&](unsigned i) {
    const bool is_spread = context.state->ports[burst.ports[i]].is_spread;
    if (!is_spread || burst.packets[i].kind != PacketKind::Fragment) return true;
    const WorkerIndex gatherer = gatherer_of(context, ipv4_of(burst.frames[i]));
    if (gatherer == context.worker) return true;
    hand_over(context, burst.frames[i], burst.ports[i], gatherer, errand);
    return false;
  });
}

template <Direction direction>
void assign_keys(Context& context, Burst& burst) {
  burst.keep_if([&](unsigned i) {
    return burst.packets[i].kind != PacketKind::Fragment || assign_key<direction>(context, burst, i);
  });
}

template <Direction direction>
void restore_keys(Burst& burst) {
  for (unsigned i = 0; i < burst.count; ++i) {
    if (burst.packets[i].kind != PacketKind::Fragment) continue;
    const FrameNote note = note_of(burst.frames[i]);
    if (is_first(ipv4_of(burst.frames[i]))) {
      parse_first_fragment<direction>(burst, i);
      burst.packets[i].new_id = note.new_id;
    } else {
      follow<direction>(burst, i, Lead::read(note));
    }
  }
}

void renumber(Burst& burst) {
  for (unsigned i = 0; i < burst.count; ++i) {
    const std::uint16_t new_id = burst.packets[i].new_id;
    if (new_id == 0) continue;
    net::Ipv4Header& ip = ipv4_of(burst.frames[i]);
    const auto number = net::Be16::from_host(new_id);
    ip.checksum = net::ChecksumDelta::of(ip.identification.raw(), number.raw()).applied_to(ip.checksum);
    ip.identification = number;
  }
}

template void send_to_gatherer<Direction::Outbound>(Context&, Burst&);
template void send_to_gatherer<Direction::Inbound>(Context&, Burst&);
template void assign_keys<Direction::Outbound>(Context&, Burst&);
template void assign_keys<Direction::Inbound>(Context&, Burst&);
template void restore_keys<Direction::Outbound>(Burst&);
template void restore_keys<Direction::Inbound>(Burst&);

}  // namespace vmnat::dataplane
