// SPDX-License-Identifier: Apache-2.0
// Between a DHCP message and an Ethernet frame: framing, checksums, and where a reply goes.
//
//   | EthernetHeader 14 | Ipv4Header 20.. | UdpHeader 8 | DHCP message 300.. |
//
// Received frames are read through checked views only. Replies carry a full UDP checksum: many clients read
// raw sockets, and drop a datagram whose checksum was left to hardware or is wrong. `reply_target` decides
// which address a reply goes to (RFC 2131 section 4.1).
#pragma once

#include <variant>

#include "dhcp/counters.h"
#include "dhcp/message.h"
#include "net/address.h"

namespace vmnat::dhcp {

using Frame = Bytes;

inline constexpr auto kServerPort = net::L4Port::from_host(67);
inline constexpr auto kClientPort = net::L4Port::from_host(68);
inline constexpr auto kBroadcastAddress = net::Ipv4Addr::of(255, 255, 255, 255);

// One UDP datagram, as found in a frame. `payload` points into the frame.
struct Datagram {
  net::MacAddr source_mac;
  net::MacAddr destination_mac;
  net::Endpoint source;
  net::Endpoint destination;
  ByteView payload;
};

// Reads a frame that starts with its Ethernet header (no VLAN tag); bytes behind the IP datagram are padding.
std::variant<Datagram, Ignored> parse_frame(ByteView frame);

// Writes the frame that carries `payload`, with valid IP and UDP checksums (never 0, "none").
Frame framed(const Datagram& datagram);

// Where a reply goes.
struct ReplyTarget {
  net::MacAddr mac;
  net::Endpoint endpoint;
};

// RFC 2131 section 4.1, for a reply of `type` (nothing: BOOTP's, RFC 951 section 4) that gives (or confirms)
// `yiaddr` to the sender of `request`; `sender` is the MAC that the request's frame came from, the relay's
// for a relayed one. The request's ciaddr is one that the client does use, else empty.
ReplyTarget reply_target(const MessageHeader& request, net::MacAddr sender, std::optional<MessageType> type,
                         net::Ipv4Addr yiaddr);

}  // namespace vmnat::dhcp
