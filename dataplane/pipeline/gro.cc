// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/gro.h"

#include <array>
#include <cstring>
#include <rte_ip.h>

#include "dataplane/device/claims.h"
#include "net/checksum.h"

namespace vmnat::dataplane {
namespace {

using net::Ipv4Header;
using net::kIpOffset;
using net::TcpHeader;

constexpr std::size_t kTcpOffset = kIpOffset + sizeof(Ipv4Header);
constexpr std::size_t kLongestPacket = 65535;

TcpHeader& tcp_of(rte_mbuf* frame) {
  return *rte_pktmbuf_mtod_offset(frame, TcpHeader*, kTcpOffset);
}

// What waits for its next hop waits as segments: a super-frame could not.
template <Direction direction>
bool takes_merged(const ForwardingState& state, const Session& session) {
  if (direction == Direction::Inbound) return state.ports[session.vm_port()].offloads.takes_merged();
  const PortIndex way = state.uplink_port(session.policy());
  return state.ports[way].offloads.takes_merged() &&
         !state.uplinks[way].next_hop_mac(session.remote().address).is_zero();
}

// Bytes of payload of a frame that may be part of a super-frame; 0 when it may not. It has no options of IPv4
// and no padding, and all its headers lie in the first buffer.
template <Direction direction>
unsigned mergeable_payload(const ForwardingState& state, const Burst& burst, unsigned i) {
  const ParsedPacket& packet = burst.packets[i];
  rte_mbuf* frame = burst.frames[i];
  if (packet.kind != PacketKind::Tcp || (packet.tcp_flags & ~TcpHeader::kPsh) != TcpHeader::kAck) return 0;
  if (!takes_merged<direction>(state, *burst.sessions[i])) return 0;
  if (packet.l4_offset != kTcpOffset || frame->pkt_len != kIpOffset + packet.total_length) return 0;
  if (is_super_frame(frame) || ipv4_of(frame).is_fragment()) return 0;
  const std::size_t headers = kTcpOffset + tcp_of(frame).header_length();
  return frame->data_len > headers ? static_cast<unsigned>(frame->pkt_len - headers) : 0;
}

// Of what was left to the device there is nothing that could be wrong.
bool has_good_checksum(rte_mbuf* frame) {
  if (is_unfinished(frame)) return true;
  const Ipv4Header& ip = ipv4_of(frame);
  const auto length = static_cast<std::uint16_t>(frame->pkt_len - kTcpOffset);
  const std::uint64_t sum = net::pseudo_header_sum(ip.source, ip.destination, ip.protocol_number, length);
  if (frame->nb_segs == 1)
    return net::is_intact(
        net::added_sum({rte_pktmbuf_mtod_offset(frame, const std::byte*, kTcpOffset), length}, sum));
  std::uint16_t rest = 0;
  rte_raw_cksum_mbuf(frame, kTcpOffset, length, &rest);
  return net::is_intact(sum + rest);
}

bool merges_outbound(const ForwardingState& state) {
  for (PortIndex uplink = 0; uplink < state.uplink_count; ++uplink)
    if (state.ports[uplink].offloads.takes_merged()) return true;
  return false;
}

// A segment, and those that were appended to it.
struct Group {
  const Session* session;
  rte_mbuf* frame;
  rte_mbuf* tail;  // last buffer of the chain
  std::uint32_t next_sequence;
  std::uint16_t headers;       // bytes before the payload, of each segment
  std::uint16_t segment_size;  // payload of each, the last may have less
  std::uint8_t segments;
};

// RFC 6864 section 4: the identification means nothing where fragmentation is forbidden. Else the segments'
// count up, as those that a super-frame is cut into do.
bool has_next_identification(const Group& group, const Ipv4Header& first, const Ipv4Header& next) {
  return first.dont_fragment() || static_cast<std::uint16_t>(first.identification.host() + group.segments) ==
                                      next.identification.host();
}

bool has_same_headers(const Group& group, rte_mbuf* frame) {
  const Ipv4Header& first_ip = ipv4_of(group.frame);
  const Ipv4Header& ip = ipv4_of(frame);
  const TcpHeader& first = tcp_of(group.frame);
  const TcpHeader& tcp = tcp_of(frame);
  return ip.tos == first_ip.tos && ip.ttl == first_ip.ttl && ip.fragment == first_ip.fragment &&
         has_next_identification(group, first_ip, ip) && tcp.acknowledgment == first.acknowledgment &&
         tcp.data_offset == first.data_offset && tcp.window == first.window && tcp.urgent == first.urgent &&
         std::memcmp(&tcp + 1, &first + 1, tcp.header_length() - sizeof tcp) == 0;
}

bool continues(const Group& group, rte_mbuf* frame, unsigned payload) {
  return tcp_of(frame).sequence.host() == group.next_sequence && payload <= group.segment_size &&
         group.frame->pkt_len - kIpOffset + payload <= kLongestPacket && has_same_headers(group, frame) &&
         (group.segments > 1 || has_good_checksum(group.frame)) && has_good_checksum(frame);
}

void append(Group& group, rte_mbuf* frame, unsigned payload) {
  tcp_of(group.frame).flags |= tcp_of(frame).flags & TcpHeader::kPsh;
  rte_pktmbuf_adj(frame, group.headers);
  group.tail->next = frame;
  group.tail = rte_pktmbuf_lastseg(frame);
  group.frame->nb_segs = static_cast<std::uint16_t>(group.frame->nb_segs + frame->nb_segs);
  group.frame->pkt_len += payload;
  frame->pkt_len = frame->data_len;
  group.next_sequence += payload;
  ++group.segments;
}

// The headers become those of the whole. The checksum of TCP is made when it leaves.
void seal(const Group& group) {
  Ipv4Header& ip = ipv4_of(group.frame);
  const auto length = net::Be16::from_host(static_cast<std::uint16_t>(group.frame->pkt_len - kIpOffset));
  ip.checksum = net::ChecksumDelta::of(ip.total_length.raw(), length.raw()).applied_to(ip.checksum);
  ip.total_length = length;
  group.frame->ol_flags |= RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_NONE;
  group.frame->tso_segsz = group.segment_size;
  set_headers(group.frame,
              {.is_tcp = true, .is_ipv4 = true, .l3 = kIpOffset, .l4 = kTcpOffset, .payload = group.headers});
}

// The super-frames of a burst.
class Merging {
 public:
  // True when the frame has become part of an earlier one of its session. `payload`: 0, it may not.
  bool take(const Session* session, rte_mbuf* frame, unsigned payload) {
    if (payload == 0 && count_ == 0) return false;  // nothing has begun that it could end
    std::uint8_t& open = open_[slot_of(session)];
    Group* group = open != 0 ? &groups_[open - 1u] : nullptr;
    const bool is_own = group != nullptr && group->session == session;
    if (payload == 0) {
      if (is_own) open = 0;
      return false;
    }
    const bool is_last = (tcp_of(frame).flags & TcpHeader::kPsh) != 0;
    if (!is_own || !continues(*group, frame, payload)) {
      open = is_last || payload < kLeastSegment ? std::uint8_t{0} : begin(session, frame, payload);
      return false;
    }
    if (is_last || payload < group->segment_size) open = 0;
    append(*group, frame, payload);
    return true;
  }
  void seal_all() const {
    for (unsigned i = 0; i < count_; ++i)
      if (groups_[i].segments > 1) seal(groups_[i]);
  }

 private:
  static constexpr std::size_t kSlots = 64;

  // Of two sessions with one slot the later one has it: of the other nothing more is merged.
  static std::size_t slot_of(const Session* session) {
    return reinterpret_cast<std::uintptr_t>(session) / sizeof *session % kSlots;
  }
  std::uint8_t begin(const Session* session, rte_mbuf* frame, unsigned payload) {
    groups_[count_] = {.session = session,
                       .frame = frame,
                       .tail = rte_pktmbuf_lastseg(frame),
                       .next_sequence = tcp_of(frame).sequence.host() + payload,
                       .headers = static_cast<std::uint16_t>(frame->pkt_len - payload),
                       .segment_size = static_cast<std::uint16_t>(payload),
                       .segments = 1};
    return static_cast<std::uint8_t>(++count_);
  }

  std::array<std::uint8_t, kSlots> open_{};  // number of the group from 1, by session; 0: none
  std::array<Group, kBurstSize> groups_;
  unsigned count_ = 0;
};

}  // namespace

template <Direction direction>
void merge_segments(Context& context, Burst& burst) {
  const ForwardingState& state = *context.state;
  if (direction == Direction::Outbound && !merges_outbound(state)) return;
  Merging merging;
  const unsigned entered = burst.count;
  burst.keep_if([&](unsigned i) {
    return !merging.take(burst.sessions[i], burst.frames[i], mergeable_payload<direction>(state, burst, i));
  });
  merging.seal_all();
  context.counters.segments_merged.add(entered - burst.count);
}

template void merge_segments<Direction::Inbound>(Context&, Burst&);
template void merge_segments<Direction::Outbound>(Context&, Burst&);

}  // namespace vmnat::dataplane
