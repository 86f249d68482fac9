// SPDX-License-Identifier: Apache-2.0
// The DHCP message (RFC 2131 section 2, RFC 2132): bytes to a typed Message, and a builder for the way back.
//
//   | MessageHeader 236 + cookie 4 | options ... 255 | [padding] |
//                \_ sname 64, file 128: may carry options too, when option 52 says so (requests only)
//
// Reading is tolerant: what is not there or malformed counts as absent, one option at a time; a repeated
// option is one value in pieces (RFC 3396). Nothing is read that lies outside of the bytes given.
// Writing is strict: never more bytes than the client takes, never fewer than 300, never an overload.
// Example: a DISCOVER whose option 53 is "35 01 01" has type() == MessageType::Discover; with "35 02 01 00"
// it has no type.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "dhcp/options.h"
#include "net/address.h"
#include "net/byte_order.h"

namespace vmnat::dhcp {

using Bytes = std::vector<std::byte>;
using ByteView = std::span<const std::byte>;

inline ByteView bytes_of(std::string_view text) {
  return std::as_bytes(std::span{text});
}

enum class Op : std::uint8_t { Request = 1, Reply = 2 };

enum class MessageType : std::uint8_t { Discover = 1, Offer, Request, Decline, Ack, Nak, Release, Inform };
inline constexpr auto kMessageTypes = static_cast<std::size_t>(MessageType::Inform);
std::string_view to_string(MessageType type);  // "discover", "offer", ...

// RFC 2131 figure 1, with the magic cookie of RFC 2132 section 2 behind it.
struct MessageHeader {
  static constexpr std::uint32_t kMagicCookie = 0x63825363;
  static constexpr std::uint16_t kBroadcastFlag = 0x8000;
  static constexpr std::uint8_t kEthernet = 1;

  Op op;
  std::uint8_t hardware_type;
  std::uint8_t hardware_length;
  std::uint8_t hops;
  net::Be32 xid;
  net::Be16 secs;
  net::Be16 flags;
  net::Ipv4Addr ciaddr;  // the client's address, when it has one and uses it
  net::Ipv4Addr yiaddr;  // "your" address: what the server gives
  net::Ipv4Addr siaddr;  // the next server of a network boot
  net::Ipv4Addr giaddr;  // the relay's address, when one is in between
  net::MacAddr chaddr;
  std::array<std::uint8_t, 10> chaddr_padding;
  std::array<char, 64> sname;
  std::array<char, 128> file;
  net::Be32 cookie;

  [[nodiscard]] constexpr bool wants_broadcast() const { return (flags.host() & kBroadcastFlag) != 0; }
};
static_assert(sizeof(MessageHeader) == 240 && alignof(MessageHeader) == 1);

// All options of a message, repeated ones joined. A getter answers nothing for an absent option and for one
// whose length cannot be right for its code.
class OptionSet {
 public:
  OptionSet() = default;
  // Joins the options of `regions` in this order (RFC 3396 section 5: options, file, sname).
  explicit OptionSet(std::span<const ByteView> regions);

  [[nodiscard]] bool has(Option code) const;
  [[nodiscard]] bool mentions(Option code) const;   // well formed or not
  [[nodiscard]] ByteView bytes(Option code) const;  // empty when absent, malformed or of no length
  [[nodiscard]] std::string_view text(Option code) const;
  [[nodiscard]] std::optional<std::uint8_t> byte(Option code) const;
  [[nodiscard]] std::optional<std::uint16_t> short_value(Option code) const;
  [[nodiscard]] std::optional<std::uint32_t> long_value(Option code) const;
  [[nodiscard]] std::optional<net::Ipv4Addr> address(Option code) const;
  // Whether the client wants `code`: it stands in option 55, or there is no option 55.
  [[nodiscard]] bool asks_for(Option code) const;
  // Whether option 55 is there and names `code`.
  [[nodiscard]] bool names(Option code) const;

 private:
  struct Slice {
    std::uint16_t offset = 0;
    std::uint16_t length = 0;
    bool present = false;
  };
  std::array<Slice, 256> slices_{};
  Bytes values_;
};

struct Message {
  MessageHeader header;
  OptionSet options;

  [[nodiscard]] std::optional<MessageType> type() const;
  // Of a client that knows BOOTP alone (RFC 1534 section 2).
  [[nodiscard]] bool is_bootp() const { return !options.mentions(Option::MessageType); }
  [[nodiscard]] bool has_cookie() const { return header.cookie.host() == MessageHeader::kMagicCookie; }
};

// Nothing when the bytes are no DHCP message: shorter than the header, or another cookie.
std::optional<Message> parse_message(ByteView bytes);
// As a server reads it: also BOOTP's messages, whose vendor field may be anything (RFC 951 section 3), or not
// be there; then there are no options.
std::optional<Message> parse_request(ByteView bytes);

// Writes one message. Options are added in the order of their importance: one that does not fit any more
// is left out whole, counted, and the message stays valid.
class MessageBuilder {
 public:
  // BOOTP relays and some clients drop what is shorter (RFC 1542 section 2.1: 300 bytes of payload).
  static constexpr std::size_t kMinSize = 300;
  // What every client must take: 576 bytes of IP datagram (RFC 2131 section 2).
  static constexpr std::size_t kDefaultLimit = 576 - 28;

  // `limit`: the most bytes the message may have, at least kMinSize.
  explicit MessageBuilder(const MessageHeader& header, std::size_t limit = kDefaultLimit);

  // Each answers whether the option is in. Values of more than 255 bytes go out in pieces (RFC 3396).
  bool add(Option code, ByteView value);
  bool add(Option code, std::string_view value) { return add(code, bytes_of(value)); }
  bool add(Option code, MessageType value) { return add_byte(code, static_cast<std::uint8_t>(value)); }
  bool add(Option code, net::Ipv4Addr value) { return add(code, std::as_bytes(std::span{&value, 1})); }
  bool add(Option code, std::span<const net::Ipv4Addr> values) { return add(code, std::as_bytes(values)); }
  bool add_byte(Option code, std::uint8_t value) { return add(code, std::as_bytes(std::span{&value, 1})); }
  bool add_short(Option code, std::uint16_t value);
  bool add_long(Option code, std::uint32_t value);

  // Keeps `size` bytes free for an option that comes last; 0 frees them again.
  void hold_back(std::size_t size) { held_back_ = size; }
  [[nodiscard]] std::size_t left_out() const { return left_out_; }
  // The whole message: end mark, padding. The builder is used up.
  [[nodiscard]] Bytes finished();

 private:
  Bytes bytes_;
  std::size_t limit_;
  std::size_t held_back_ = 0;
  std::size_t left_out_ = 0;
};

// The bytes that an option with this value takes in a message: 2 of code and length per 255 of value.
constexpr std::size_t encoded_size(ByteView value) {
  return value.size() + 2 * std::max<std::size_t>(1, (value.size() + 254) / 255);
}

// The most bytes of DHCP message that the sender of `request` takes: option 57 counts the IP and UDP
// headers (RFC 2132 section 9.10), and less than 576 means 576. More than `mtu` is not used.
std::size_t message_limit(const Message& request, std::uint16_t mtu);

}  // namespace vmnat::dhcp
