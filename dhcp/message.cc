// SPDX-License-Identifier: Apache-2.0
// The codec of DHCP messages: see the header for the shape. Options are walked twice, once to measure and
// once to copy, so that the pieces of a repeated option come to lie side by side in one buffer.
#include "dhcp/message.h"

#include <algorithm>
#include <cstring>

#include "net/wire.h"

namespace vmnat::dhcp {
namespace {

constexpr std::size_t kLengthAt = 1;  // of the length byte in an option
constexpr std::size_t kValueAt = 2;
constexpr std::size_t kMaxPiece = 255;
constexpr std::size_t kIpUdpHeaders = 28;
constexpr std::size_t kMaxJoined = 0xffff;

std::uint8_t byte_at(ByteView bytes, std::size_t index) {
  return static_cast<std::uint8_t>(bytes[index]);
}

// Calls visit(code, value) for each option of a region, up to its end mark or the first one that does not
// end within it: from there on nothing can be told apart.
template <typename Visit>
void for_each_option(ByteView region, Visit visit) {
  while (!region.empty()) {
    const auto code = static_cast<Option>(byte_at(region, 0));
    if (code == Option::End) return;
    if (code == Option::Pad) {
      region = region.subspan(1);
      continue;
    }
    if (region.size() < kValueAt) return;
    const std::size_t length = byte_at(region, kLengthAt);
    if (region.size() - kValueAt < length) return;
    visit(code, region.subspan(kValueAt, length));
    region = region.subspan(kValueAt + length);
  }
}

// Where options stand in this message. Option 52 is heeded in the options field only: an overload inside of
// an overloaded field has no meaning (RFC 2131 section 4.1), and so cannot loop.
std::vector<ByteView> option_regions(const MessageHeader& header, ByteView options_field) {
  std::vector<ByteView> regions{options_field};
  const auto overload = OptionSet{regions}.byte(Option::Overload).value_or(0);
  if ((overload & 1) != 0) regions.emplace_back(std::as_bytes(std::span{header.file}));
  if ((overload & 2) != 0) regions.emplace_back(std::as_bytes(std::span{header.sname}));
  return regions;
}

}  // namespace

std::string_view to_string(MessageType type) {
  static constexpr std::string_view kNames[] = {"discover", "offer", "request", "decline",
                                                "ack",      "nak",   "release", "inform"};
  return kNames[static_cast<std::size_t>(type) - 1];
}

OptionSet::OptionSet(std::span<const ByteView> regions) {
  std::size_t total = 0;
  for (const ByteView region : regions) total += region.size();
  if (total > kMaxJoined) return;  // more than a UDP datagram holds
  for (const ByteView region : regions)
    for_each_option(region, [&](Option code, ByteView value) {
      Slice& slice = slices_[static_cast<std::uint8_t>(code)];
      slice.present = true;
      slice.length = static_cast<std::uint16_t>(slice.length + value.size());
    });
  std::uint16_t end = 0;
  for (Slice& slice : slices_) {
    slice.offset = end;
    end = static_cast<std::uint16_t>(end + slice.length);
    slice.length = 0;
  }
  values_.resize(end);
  for (const ByteView region : regions)
    for_each_option(region, [&](Option code, ByteView value) {
      Slice& slice = slices_[static_cast<std::uint8_t>(code)];
      std::ranges::copy(value, values_.begin() + slice.offset + slice.length);
      slice.length = static_cast<std::uint16_t>(slice.length + value.size());
    });
}

bool OptionSet::mentions(Option code) const {
  return slices_[static_cast<std::uint8_t>(code)].present;
}

bool OptionSet::has(Option code) const {
  const Slice& slice = slices_[static_cast<std::uint8_t>(code)];
  return slice.present && is_well_formed(option_type(code), slice.length);
}

ByteView OptionSet::bytes(Option code) const {
  if (!has(code)) return {};
  const Slice& slice = slices_[static_cast<std::uint8_t>(code)];
  return ByteView{values_}.subspan(slice.offset, slice.length);
}

std::string_view OptionSet::text(Option code) const {
  const ByteView value = bytes(code);
  return {reinterpret_cast<const char*>(value.data()), value.size()};
}

std::optional<std::uint8_t> OptionSet::byte(Option code) const {
  const ByteView value = bytes(code);
  return value.size() == 1 ? std::optional{byte_at(value, 0)} : std::nullopt;
}

std::optional<std::uint16_t> OptionSet::short_value(Option code) const {
  const ByteView value = bytes(code);
  if (value.size() != sizeof(net::Be16)) return std::nullopt;
  return net::view<net::Be16>(value)->host();
}

std::optional<std::uint32_t> OptionSet::long_value(Option code) const {
  const ByteView value = bytes(code);
  if (value.size() != sizeof(net::Be32)) return std::nullopt;
  return net::view<net::Be32>(value)->host();
}

std::optional<net::Ipv4Addr> OptionSet::address(Option code) const {
  const ByteView value = bytes(code);
  if (value.size() != sizeof(net::Ipv4Addr)) return std::nullopt;
  return *net::view<net::Ipv4Addr>(value);
}

bool OptionSet::names(Option code) const {
  const ByteView list = bytes(Option::ParameterRequestList);
  return std::ranges::find(list, static_cast<std::byte>(code)) != list.end();
}

bool OptionSet::asks_for(Option code) const {
  return !has(Option::ParameterRequestList) || names(code);
}

std::optional<MessageType> Message::type() const {
  const auto value = options.byte(Option::MessageType);
  if (!value || *value == 0 || *value > kMessageTypes) return std::nullopt;
  return static_cast<MessageType>(*value);
}

std::optional<Message> parse_message(ByteView bytes) {
  const auto* header = net::view<MessageHeader>(bytes);
  if (header == nullptr || header->cookie.host() != MessageHeader::kMagicCookie) return std::nullopt;
  return Message{*header, OptionSet{option_regions(*header, bytes.subspan(sizeof(MessageHeader)))}};
}

std::optional<Message> parse_request(ByteView bytes) {
  if (auto message = parse_message(bytes)) return message;
  if (bytes.size() < sizeof(MessageHeader) - sizeof(net::Be32)) return std::nullopt;
  Message message{};
  std::memcpy(&message.header, bytes.data(), std::min(bytes.size(), sizeof(MessageHeader)));
  return message;
}

MessageBuilder::MessageBuilder(const MessageHeader& header, std::size_t limit)
    : bytes_(sizeof(header)), limit_(std::max(limit, kMinSize)) {
  std::memcpy(bytes_.data(), &header, sizeof(header));
}

bool MessageBuilder::add(Option code, ByteView value) {
  if (bytes_.size() + encoded_size(value) + held_back_ + 1 > limit_) {  // 1: the end mark
    ++left_out_;
    return false;
  }
  do {
    const ByteView piece = value.first(std::min(value.size(), kMaxPiece));
    value = value.subspan(piece.size());
    bytes_.push_back(static_cast<std::byte>(code));
    bytes_.push_back(static_cast<std::byte>(piece.size()));
    bytes_.insert(bytes_.end(), piece.begin(), piece.end());
  } while (!value.empty());
  return true;
}

bool MessageBuilder::add_short(Option code, std::uint16_t value) {
  const auto wire = net::Be16::from_host(value);
  return add(code, std::as_bytes(std::span{&wire, 1}));
}

bool MessageBuilder::add_long(Option code, std::uint32_t value) {
  const auto wire = net::Be32::from_host(value);
  return add(code, std::as_bytes(std::span{&wire, 1}));
}

Bytes MessageBuilder::finished() {
  bytes_.push_back(static_cast<std::byte>(Option::End));
  if (bytes_.size() < kMinSize) bytes_.resize(kMinSize);
  return std::move(bytes_);
}

std::size_t message_limit(const Message& request, std::uint16_t mtu) {
  const std::size_t wanted = request.options.short_value(Option::MaxMessageSize).value_or(0);
  const std::size_t datagram = std::min<std::size_t>(wanted, mtu);
  return std::max(datagram, MessageBuilder::kDefaultLimit + kIpUdpHeaders) - kIpUdpHeaders;
}

}  // namespace vmnat::dhcp
