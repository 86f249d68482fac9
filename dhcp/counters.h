// SPDX-License-Identifier: Apache-2.0
// What a DHCP server counts: messages by type in both directions, and every frame left unanswered by its
// reason. One table makes the enum, the names of the counters and the sentences of the documentation.
//
// Each frame is counted once: as sent, concluded or ignored. A frame whose answer waits for a check
// (Server::Check) is counted when it is given again.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "dhcp/message.h"

namespace vmnat::dhcp {

// X(enumerator, name, sentence)
#define VMNAT_DHCP_IGNORED(X)                                                                              \
  X(RateLimit, "rate_limit", "the port sends more messages a second than it may")                          \
  X(MalformedFrame, "malformed_frame", "no whole IPv4 UDP datagram in an Ethernet frame")                  \
  X(Fragment, "fragment", "a piece of a fragmented datagram")                                              \
  X(BadChecksum, "bad_checksum", "IP or UDP checksum does not hold")                                       \
  X(NotForUs, "not_for_us", "for another address or port than the server's")                               \
  X(NotDhcp, "not_dhcp", "too short, or not a request")                                                    \
  X(BadHardware, "bad_hardware", "hardware address is not an Ethernet station's")                          \
  X(UnknownType, "unknown_type", "a message type that there is not, or that only servers send")            \
  X(Bootp, "bootp", "a BOOTP client without a reservation, or whose address another holds")                \
  X(ForeignMac, "foreign_mac", "chaddr is not the frame's source, on a port that may not relay")           \
  X(NoRelay, "no_relay", "relayed, on a port that may not relay")                                          \
  X(ForeignRelay, "foreign_relay", "relayed from a network that is not this one")                          \
  X(BadRequest, "bad_request", "an option or address that the message type needs is missing")              \
  X(OtherServer, "other_server", "the client speaks with another server")                                  \
  X(UnknownClient, "unknown_client", "no record of the client, and the server is not authoritative")       \
  X(NotTheHolder, "not_the_holder", "release or decline of an address that the sender does not hold here") \
  X(HeldElsewhere, "held_elsewhere", "the client or its MAC is another port's, by lease or configuration") \
  X(PortLimit, "port_limit", "the port holds as many addresses as one port may")                           \
  X(PoolExhausted, "pool_exhausted", "no address of the ranges is free")

enum class Ignored : std::uint8_t {
#define VMNAT_X(enumerator, name, sentence) enumerator,
  VMNAT_DHCP_IGNORED(VMNAT_X)
#undef VMNAT_X
};

struct IgnoredText {
  std::string_view name;
  std::string_view sentence;
};
inline constexpr IgnoredText kIgnoredTexts[] = {
#define VMNAT_X(enumerator, name, sentence) {name, sentence},
    VMNAT_DHCP_IGNORED(VMNAT_X)
#undef VMNAT_X
};
inline constexpr std::size_t kIgnoredReasons = std::size(kIgnoredTexts);

using IgnoredCounts = std::array<std::uint64_t, kIgnoredReasons>;

// Where `received` and `sent` count a message of this type; nothing: BOOTP's.
constexpr std::size_t kind_of(std::optional<MessageType> type) {
  return type ? static_cast<std::size_t>(*type) : 0;
}

struct Counters {
  std::array<std::uint64_t, kMessageTypes + 1> received{};  // by MessageType; [0]: BOOTP's
  std::array<std::uint64_t, kMessageTypes + 1> sent{};
  IgnoredCounts ignored{};
  std::uint64_t concluded = 0;         // releases and declines that took effect: they have no answer
  std::uint64_t options_left_out = 0;  // did not fit into what the client takes
};

}  // namespace vmnat::dhcp
