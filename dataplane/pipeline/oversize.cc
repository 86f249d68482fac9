// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/oversize.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "dataplane/device/offload.h"
#include "dataplane/frame/new_frame.h"
#include "dataplane/pipeline/deliver.h"
#include "net/checksum.h"

namespace vmnat::dataplane {
namespace {

using net::Ipv4Header;
using net::kIpOffset;

constexpr std::size_t kUnit = 8;
constexpr std::uint16_t kMoreFragments = 0x2000;

// An IPv4 header as bytes.
struct Header {
  std::array<std::byte, 60> bytes;
  std::size_t length;
};

Header header_of(rte_mbuf* frame) {
  Header header;
  header.length = ipv4_of(frame).header_length();
  std::memcpy(header.bytes.data(), &ipv4_of(frame), header.length);
  return header;
}

// RFC 791 section 3.1: options with the copied flag go into every fragment. Parse has checked their lengths.
Header later_header_of(const Header& first) {
  Header later = first;
  later.length = sizeof(Ipv4Header);
  const std::span options = std::span(first.bytes).first(first.length).subspan(sizeof(Ipv4Header));
  for (std::size_t at = 0; at < options.size() && options[at] != std::byte{0};) {
    const bool is_single = options[at] == std::byte{1};
    const std::size_t length = is_single ? 1 : static_cast<std::size_t>(options[at + 1]);
    if ((options[at] & std::byte{0x80}) != std::byte{0}) {
      std::memcpy(later.bytes.data() + later.length, options.data() + at, length);
      later.length += length;
    }
    at += length;
  }
  while (later.length % 4 != 0) later.bytes[later.length++] = std::byte{0};
  later.bytes[0] = static_cast<std::byte>(0x40 + later.length / 4);  // version and length
  return later;
}

// The piece with bytes [begin, begin + size) of the frame's payload; nullptr when there is no buffer.
rte_mbuf* piece_of(rte_mbuf* frame, const Header& header, std::size_t begin, std::size_t size, bool is_last) {
  const std::size_t headers = kIpOffset + header.length;
  rte_mbuf* piece = new_frame(headers + size, frame->pool);
  if (piece == nullptr) return nullptr;
  const Ipv4Header& whole = ipv4_of(frame);
  ethernet_of(piece) = ethernet_of(frame);
  Ipv4Header& ip = ipv4_of(piece);
  std::memcpy(&ip, header.bytes.data(), header.length);
  ip.total_length = net::Be16::from_host(static_cast<std::uint16_t>(header.length + size));
  const bool has_more = !is_last || whole.more_fragments();
  ip.fragment = net::Be16::from_host(static_cast<std::uint16_t>((whole.fragment_offset() + begin / kUnit) |
                                                                (has_more ? kMoreFragments : 0u)));
  net::write_checksum(ip);
  std::byte* const to = rte_pktmbuf_mtod_offset(piece, std::byte*, headers);
  const auto from = static_cast<std::uint32_t>(kIpOffset + whole.header_length() + begin);
  const void* bytes = rte_pktmbuf_read(frame, from, static_cast<std::uint32_t>(size), to);
  if (bytes != to) std::memcpy(to, bytes, size);
  return piece;
}

bool leaves_in_segments(const rte_mbuf* frame, std::uint16_t mtu) {
  return is_super_frame(frame) && has_segments_up_to(frame, mtu);
}

// Frames on their way to be delivered, in their order.
template <Direction direction>
class Delivery {
 public:
  explicit Delivery(Context& context) : context_(context) { burst_.count = 0; }
  // Where the frames came from that are added from now on.
  void set_port(PortIndex port) { port_ = port; }
  void add(rte_mbuf* frame, Session* session) {
    burst_.ports[burst_.count] = port_;
    burst_.frames[burst_.count] = frame;
    burst_.sessions[burst_.count++] = session;
    if (burst_.count == kBurstSize) flush();
  }
  [[nodiscard]] PortIndex port() const { return port_; }
  void flush() {
    direction == Direction::Outbound ? deliver_outbound(context_, burst_) : deliver_inbound(context_, burst_);
    burst_.count = 0;
  }

 private:
  Context& context_;
  PortIndex port_ = 0;
  Burst burst_;
};

// A datagram that was whole so far becomes a fragmented one.
void number(Context& context, Ipv4Header& ip) {
  if (!ip.is_fragment())
    ip.identification =
        net::Be16::from_host(context.datagram_numbers.next(ip.destination, ip.protocol_number));
}

// The frame counts for one of its pieces, the others are made.
template <Direction direction>
void cut(Context& context, rte_mbuf* frame, Session* session, std::size_t mtu,
         Delivery<direction>& delivery) {
  mtu = std::min(mtu, longest_new_frame(frame->pool) - kIpOffset);
  if (is_unfinished(frame)) finish_checksum(frame);
  if (direction == Direction::Outbound) number(context, ipv4_of(frame));
  const Header first = header_of(frame), later = later_header_of(first);
  const std::size_t payload = ipv4_of(frame).total_length.host() - first.length;
  unsigned pieces = 0;
  for (std::size_t begin = 0; begin < payload; ++pieces) {
    const Header& header = begin == 0 ? first : later;
    const bool is_last = header.length + payload - begin <= mtu;
    const std::size_t size = is_last ? payload - begin : (mtu - header.length) / kUnit * kUnit;
    rte_mbuf* piece = piece_of(frame, header, begin, size, is_last);
    if (piece == nullptr) {
      context.counters.count_made(&WorkerCounters::fragments_made, delivery.port(), pieces);
      return context.drop(frame, delivery.port(), DropReason::NoBuffer);
    }
    delivery.add(piece, session);
    begin += size;
  }
  context.counters.count_made(&WorkerCounters::fragments_made, delivery.port(), pieces - 1);
  rte_pktmbuf_free(frame);
}

// A super-frame of TCP may leave as one long segment; one of UDP is many datagrams, each to be cut by itself.
bool has_datagrams(const rte_mbuf* frame, const ParsedPacket& packet) {
  return is_super_frame(frame) && packet.kind == PacketKind::Udp;
}

// The frame counts for one of its datagrams, the others are made.
template <Direction direction>
void cut_each(Context& context, rte_mbuf* frame, Session* session, std::size_t mtu,
              Delivery<direction>& delivery) {
  Segmenter datagrams(frame);
  unsigned made = 0;
  for (; datagrams.has_next(); ++made) {
    rte_mbuf* const datagram = datagrams.next();
    if (datagram == nullptr) {
      context.counters.count_made(&WorkerCounters::segments_made, delivery.port(), made);
      return context.drop(frame, delivery.port(), DropReason::NoBuffer);
    }
    cut(context, datagram, session, mtu, delivery);
  }
  context.counters.count_made(&WorkerCounters::segments_made, delivery.port(), made - 1);
  rte_pktmbuf_free(frame);
}

}  // namespace

bool is_too_big(rte_mbuf* frame, std::uint16_t mtu) {
  return ipv4_of(frame).dont_fragment() && !leaves_in_segments(frame, mtu);
}

std::optional<DropReason> refusal_of_oversize(Burst& burst, unsigned i, std::uint16_t mtu) {
  if (leaves_in_segments(burst.frames[i], mtu)) return std::nullopt;
  if (is_too_big(burst.frames[i], mtu)) return DropReason::TooBig;
  burst.has_oversize = true;
  return std::nullopt;
}

template <Direction direction>
void deliver_in_pieces(Context& context, Burst& burst) {
  Delivery<direction> delivery(context);
  for (unsigned i = 0; i < burst.count; ++i) {
    delivery.set_port(burst.ports[i]);
    const Session& session = *burst.sessions[i];
    const PortIndex to =
        direction == Direction::Outbound ? context.state->uplink_port(session.policy()) : session.vm_port();
    const std::uint16_t mtu = context.state->egress_mtu(to);
    if (burst.packets[i].total_length <= mtu || leaves_in_segments(burst.frames[i], mtu))
      delivery.add(burst.frames[i], burst.sessions[i]);
    else if (has_datagrams(burst.frames[i], burst.packets[i]))
      cut_each(context, burst.frames[i], burst.sessions[i], mtu, delivery);
    else
      cut(context, burst.frames[i], burst.sessions[i], mtu, delivery);
  }
  delivery.flush();
}

template void deliver_in_pieces<Direction::Outbound>(Context&, Burst&);
template void deliver_in_pieces<Direction::Inbound>(Context&, Burst&);

}  // namespace vmnat::dataplane
