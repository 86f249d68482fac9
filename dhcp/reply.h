// SPDX-License-Identifier: Apache-2.0
// From a decision to the bytes that say it: the fields and options of a reply.
//
// RFC 2131 table 3 says what must be there. The rest is what the client asks for in option 55, or all there
// is when it has no option 55. Options stand in the order of their importance: when the client takes few
// bytes, the unimportant ones are left out. A BOOTP client gets what fits into the 64 bytes of its vendor
// field (RFC 1497), and no option that is DHCP's own.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

#include "dhcp/counters.h"
#include "dhcp/frame.h"
#include "dhcp/settings.h"

namespace vmnat::dhcp {

// What was decided. `yiaddr` is unspecified in a NAK and in the answer to an INFORM.
struct ReplyPlan {
  std::optional<MessageType> type;  // nothing: a BOOTREPLY
  net::Ipv4Addr yiaddr;
  net::Ipv4Addr in_use;                // the client's own address, at which it listens; unspecified: none yet
  std::chrono::seconds lease_time{0};  // 0: no lease is given, options 51, 58 and 59 stay away
  std::string_view hostname;           // option 12, when not empty
  std::string_view error;              // option 56 of a NAK
  bool rapid_commit = false;           // this Ack answers a DISCOVER (RFC 4039)
};

// The whole frame that answers `request`, which came in `datagram`. Adds to counters.options_left_out.
Frame build_reply(const NetworkSettings& settings, const Message& request, const Datagram& datagram,
                  const ReplyPlan& plan, Counters& counters);

// RFC 3442: "10.0.0.0/8 via 192.168.122.5" is 08 0a c0 a8 7a 05; `router` becomes the default route.
Bytes encoded_routes(std::span<const Route> routes, std::optional<net::Ipv4Addr> router);
// RFC 1035 section 3.1 names, one after the other, not compressed (RFC 3397 allows it).
Bytes encoded_names(std::span<const std::string> names);

}  // namespace vmnat::dhcp
