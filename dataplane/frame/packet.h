// SPDX-License-Identifier: Apache-2.0
// What a frame carries with it on its way: ParsedPacket (result of the parse step), Burst (the frames in
// play) and FrameNote (written on a frame that another thread, or the same worker later, takes up again).
//
// A step works over the whole burst. Frames that end in a step leave the burst; the rest close ranks, so
// later steps see only frames still in play, in their order of arrival.
#pragma once

#include <cstddef>
#include <cstdint>
#include <rte_mbuf.h>

#include "base/ids.h"
#include "conntrack/flow_key.h"
#include "conntrack/session.h"
#include "dataplane/frame/burst_size.h"
#include "dataplane/frame/drop_reasons.h"
#include "net/wire.h"

namespace vmnat::dataplane {
using conntrack::FlowKey;
using conntrack::Session;

inline constexpr std::uint32_t kShortestFrame = 60;  // of Ethernet, without FCS
inline constexpr std::uint32_t kLongestFrame =
    65535 + 14 + 2 * 4;  // an IP packet, its Ethernet header, two tags

// The frame's kind, as far as later steps distinguish it. From Tcp on, the FlowKey is filled in.
enum class PacketKind : std::uint8_t {
  Unroutable,  // `fault` says why; it may still be switched
  Arp,
  Tcp,
  Udp,
  IcmpRequest,  // echo and the other queries of RFC 792
  IcmpReply,
  Other,              // a protocol without ports: translated by address alone
  IcmpError,          // about a packet that it quotes; the key, of the outer header, is never found
  Fragment,           // of TCP, UDP or ICMP, without a key: its first fragment's ports are not known yet
  LaterFragment,      // of a datagram whose first fragment has given it its key: translated by address alone
  LaterEchoFragment,  // the same, and the datagram is an echo request
};

struct ParsedPacket {
  PacketKind kind = PacketKind::Unroutable;
  DropReason fault = DropReason::Runt;  // meaningful when Unroutable
  std::uint8_t tcp_flags = 0;           // meaningful when Tcp
  std::uint8_t l4_offset = 0;           // bytes from the start of the frame: 34..74
  std::uint16_t total_length = 0;       // bytes of the IPv4 packet
  std::uint16_t new_id = 0;             // of the datagram, once translated; 0: its own
};
static_assert(sizeof(ParsedPacket) == 8);

struct Burst {
  std::uint16_t count = 0;
  bool has_fragments = false;        // set by parse
  bool has_oversize = false;         // cleared by parse, set by look_up: some frame is to be cut
  std::uint16_t tcp_data_count = 0;  // set by translate: TCP frames longer than any headers
  rte_mbuf* frames[kBurstSize];
  PortIndex ports[kBurstSize];  // where each came from
  ParsedPacket packets[kBurstSize];
  FlowKey keys[kBurstSize];
  Session* sessions[kBurstSize];
  net::L4Port probable_ports[kBurstSize];  // conntrack's, within look_up: of flows about to be opened

  // A burst of one frame, to be delivered.
  static Burst of(rte_mbuf* frame, PortIndex port, Session* session) {
    Burst burst;
    burst.count = 1;
    burst.frames[0] = frame;
    burst.ports[0] = port;
    burst.sessions[0] = session;
    return burst;
  }

  // Closes ranks: frames that `stays(i)` is false of have ended, and leave the burst.
  template <typename Stays>
  void keep_if(Stays stays) {
    const unsigned entered = count;
    unsigned kept = 0;
    for (unsigned i = 0; i < entered; ++i)
      if (stays(i)) move(i, kept++);
    count = static_cast<std::uint16_t>(kept);
  }

  // Puts frame `from` on place `to` (to <= from). The session follows only where it is known already.
  void move(unsigned from, unsigned to) {
    if (from == to) return;
    frames[to] = frames[from];
    ports[to] = ports[from];
    packets[to] = packets[from];
    keys[to] = keys[from];
    sessions[to] = sessions[from];
  }
};

// Lies in the mbuf's private area, for whoever takes the frame over: another thread, or its own worker later.
struct FrameNote {
  // What is left to do with the frame.
  enum class Errand : std::uint8_t {
    Transmit,  // to leave by `port`
    Outbound,  // to be looked up, at the worker of its session
    Inbound,
    RouteOutbound,  // all that follows the switch
    RouteInbound,
    ReleasedOutbound,  // the same, for a fragment that has waited: the note holds its key
    ReleasedInbound,
    ToHost,       // from a VM, for the host; `port` is the VM's
    ToPeer,       // the same, for the VM at port `from`, by rules
    Unreachable,  // to end with an ICMP error: nothing leads on, and `reason` says why
  };
  PortIndex port = 0;  // where it came from; Transmit: where it is to leave by
  union {
    PortIndex from = 0;    // Transmit: where it came from; ToPeer: where it is to leave by
    std::uint16_t new_id;  // errands of a fragment: as in ParsedPacket
  };
  PuntReason punt{};
  Errand errand{};
  DropReason reason{};   // Unreachable
  net::Ipv4Addr host{};  // punt HostUnresolved: who is asked for
  PacketKind kind{};     // errands of a later fragment: what it is, and its datagram's ports
  net::L4Port local_port{};
  net::L4Port remote_port{};
};
static_assert(sizeof(FrameNote) <= 16);  // more would push the headers of received frames over a cache line
inline constexpr std::size_t kPrivateSize =
    (sizeof(FrameNote) + RTE_MBUF_PRIV_ALIGN - 1) & ~std::size_t{RTE_MBUF_PRIV_ALIGN - 1};

inline FrameNote& note_of(rte_mbuf* frame) {
  return *static_cast<FrameNote*>(rte_mbuf_to_priv(frame));
}

[[gnu::cold]] inline void trim_chain(rte_mbuf* frame, std::uint32_t length) {
  std::uint32_t left = length;
  rte_mbuf* last = frame;
  std::uint16_t buffers = 1;
  for (; last->data_len < left; last = last->next, ++buffers) left -= last->data_len;
  last->data_len = static_cast<std::uint16_t>(left);
  rte_pktmbuf_free(last->next);
  last->next = nullptr;
  frame->nb_segs = buffers;
  frame->pkt_len = length;
}

// Of a chain one buffer is left, without a byte.
[[gnu::cold]] inline void make_empty(rte_mbuf* frame) {
  rte_pktmbuf_free(frame->next);
  frame->next = nullptr;
  frame->nb_segs = 1;
  frame->data_len = 0;
  frame->pkt_len = 0;
}

// Cuts off what lies behind the first `length` bytes, of which there is one at least.
inline void trim(rte_mbuf* frame, std::uint32_t length) {
  if (frame->pkt_len <= length) return;
  if (frame->nb_segs > 1) return trim_chain(frame, length);
  frame->data_len = static_cast<std::uint16_t>(length);
  frame->pkt_len = length;
}

// Header access for the steps after parse, which has checked that these bytes are there.
inline net::EthernetHeader& ethernet_of(rte_mbuf* frame) {
  return *rte_pktmbuf_mtod(frame, net::EthernetHeader*);
}
inline net::Ipv4Header& ipv4_of(rte_mbuf* frame) {
  return *rte_pktmbuf_mtod_offset(frame, net::Ipv4Header*, sizeof(net::EthernetHeader));
}
inline const net::ArpPacket& arp_of(rte_mbuf* frame) {
  return *rte_pktmbuf_mtod_offset(frame, const net::ArpPacket*, sizeof(net::EthernetHeader));
}
// Cuts off the bytes behind the IPv4 packet, before it is routed: padding of the sender's link, or data that
// hides behind a short packet (RFC 1812 5.2.2).
inline void trim_to_packet(rte_mbuf* frame) {
  trim(frame, sizeof(net::EthernetHeader) + ipv4_of(frame).total_length.host());
}
template <net::WireFormat T>
T& l4_of(rte_mbuf* frame, const ParsedPacket& packet) {
  return *rte_pktmbuf_mtod_offset(frame, T*, packet.l4_offset);
}
inline conntrack::TcpSegment segment_of(rte_mbuf* frame, const ParsedPacket& packet) {
  const auto& tcp = l4_of<net::TcpHeader>(frame, packet);
  const auto before_payload = static_cast<std::uint32_t>(packet.l4_offset + tcp.header_length());
  return {.sequence = tcp.sequence.host(),
          .acknowledged = tcp.acknowledgment.host(),
          .payload =
              static_cast<std::uint32_t>(sizeof(net::EthernetHeader)) + packet.total_length - before_payload,
          .flags = packet.tcp_flags};
}

}  // namespace vmnat::dataplane
