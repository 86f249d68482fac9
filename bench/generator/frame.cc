// SPDX-License-Identifier: Apache-2.0
// Making and checking the generator's frames. Nothing here runs per frame under load but FlowPatch::apply_to.
#include "bench/generator/frame.h"

#include <algorithm>
#include <stdexcept>

#include "net/checksum.h"

namespace vmnat::bench {
namespace {

using net::kIpOffset;

constexpr std::size_t kUdpOffset = kIpOffset + sizeof(net::Ipv4Header);
constexpr std::size_t kPayloadOffset = kUdpOffset + sizeof(net::UdpHeader);

// The first bytes of every payload.
struct PayloadHeader {
  static constexpr std::uint16_t kMagic =
      0x766e;  // "vn"; the time's complement tells ours from others as well
  net::Be16 magic;
  net::Be32 flow;
  net::Be32 time;
  net::Be32 time_complement;

  [[nodiscard]] bool is_ours() const {
    return magic.host() == kMagic && time_complement.raw() == ~time.raw();
  }
};
static_assert(alignof(PayloadHeader) == 1);
constexpr std::size_t kPatchEnd = FlowPatch::kOffset + sizeof(FlowPatch);
static_assert(kPatchEnd <= kSmallestFrame - kFcsLength && (kPatchEnd - kUdpOffset) % 2 == 0,
              "sums add up at even offsets");
static_assert(kPayloadOffset + sizeof(PayloadHeader) == kPatchEnd, "a patch writes the whole payload header");
constexpr std::size_t kPatternOffset = kPayloadOffset + sizeof(PayloadHeader);
static_assert(TimeStamp::kOffset == kPayloadOffset + offsetof(PayloadHeader, time));

// Bytes behind the payload header: a pattern that an offset by one byte or a cut would break.
std::byte pattern_at(std::size_t offset) {
  return static_cast<std::byte>(offset * 7 + 1);
}

// Of the datagram's bytes from `frame`, which may be cut behind the last byte that counts here.
std::uint64_t udp_sum(std::span<const std::byte> frame, const Tuple& tuple, std::size_t datagram_length) {
  constexpr auto kProtocol = static_cast<std::uint8_t>(net::Protocol::Udp);
  return net::added_sum(frame.subspan(kUdpOffset),
                        net::pseudo_header_sum(tuple.source.address, tuple.destination.address, kProtocol,
                                               static_cast<std::uint16_t>(datagram_length)));
}

bool pattern_holds(std::span<const std::byte> frame) {
  for (std::size_t offset = kPatternOffset; offset < frame.size(); ++offset)
    if (frame[offset] != pattern_at(offset)) return false;
  return true;
}

net::Ipv4Header ip_header_of(std::size_t frame_length) {
  return {.version_ihl = 0x45,
          .tos = 0,
          .total_length = net::Be16::from_host(static_cast<std::uint16_t>(frame_length - kIpOffset)),
          .ttl = kSentTtl,
          .protocol_number = static_cast<std::uint8_t>(net::Protocol::Udp)};
}

}  // namespace

FrameTemplate::FrameTemplate(std::size_t wire_size, net::MacAddr from, net::MacAddr to) {
  if (wire_size < kSmallestFrame || wire_size > kLargestFrame)
    throw std::invalid_argument("frame size is not in 64..1518");
  bytes_.resize(wire_size - kFcsLength);
  for (std::size_t offset = kPatternOffset; offset < bytes_.size(); ++offset)
    bytes_[offset] = pattern_at(offset);
  *net::mutable_view<net::EthernetHeader>(bytes_) = {to, from, net::Be16::from_host(0x0800)};
  *net::mutable_view<net::Ipv4Header>(bytes_, kIpOffset) = ip_header_of(bytes_.size());
  net::mutable_view<net::UdpHeader>(bytes_, kUdpOffset)->length =
      net::Be16::from_host(static_cast<std::uint16_t>(bytes_.size() - kUdpOffset));
  tail_sum_ = net::added_sum(std::span{bytes_}.subspan(kPatchEnd));
}

FlowPatch FrameTemplate::patch_of(const Tuple& tuple, FlowNumber flow) const {
  std::array<std::byte, kPatchEnd> frame;  // up to where flows differ; the rest is summed once
  std::copy_n(bytes_.begin(), frame.size(), frame.begin());
  auto& ip = *net::mutable_view<net::Ipv4Header>(frame, kIpOffset);
  auto& udp = *net::mutable_view<net::UdpHeader>(frame, kUdpOffset);
  *net::mutable_view<PayloadHeader>(frame, kPayloadOffset) = {
      .magic = net::Be16::from_host(PayloadHeader::kMagic),
      .flow = net::Be32::from_host(flow),
      .time = {},
      .time_complement = net::Be32::from_raw(~std::uint32_t{0})};
  ip.source = tuple.source.address;
  ip.destination = tuple.destination.address;
  ip.checksum = net::checksum_of(net::added_sum(std::span{frame}.subspan(kIpOffset, sizeof ip)));
  udp.source_port = tuple.source.port;
  udp.destination_port = tuple.destination.port;
  udp.checksum = net::udp_checksum_of(udp_sum(frame, tuple, bytes_.size() - kUdpOffset) + tail_sum_);

  FlowPatch patch;
  std::copy(frame.begin() + FlowPatch::kOffset, frame.end(), patch.bytes.begin());
  return patch;
}

std::string_view text_of(Fault fault) {
  return kFaultTexts[static_cast<std::size_t>(fault)];
}

ReceivedFrame read_frame(std::span<const std::byte> frame) {
  const auto* ethernet = net::view<net::EthernetHeader>(frame);
  const auto* ip = net::view<net::Ipv4Header>(frame, kIpOffset);
  const auto* udp = net::view<net::UdpHeader>(frame, kUdpOffset);
  const auto* payload = net::view<PayloadHeader>(frame, kPayloadOffset);
  if (payload == nullptr || ethernet->ether_type() != net::EtherType::Ipv4 || ip->version_ihl != 0x45 ||
      ip->protocol() != net::Protocol::Udp || !payload->is_ours())
    return {};
  ReceivedFrame result{Fault::None,
                       {{ip->source, udp->source_port}, {ip->destination, udp->destination_port}},
                       payload->flow.host(),
                       ip->ttl};
  const std::size_t end = kIpOffset + ip->total_length.host();
  if (end != frame.size() || udp->length.host() != end - kUdpOffset || !pattern_holds(frame)) {
    result.fault = Fault::Payload;
  } else if (!net::is_intact(net::added_sum(frame.subspan(kIpOffset, sizeof *ip)))) {
    result.fault = Fault::IpChecksum;
  } else if (!net::is_intact(udp_sum(frame, result.tuple, end - kUdpOffset))) {
    result.fault = Fault::UdpChecksum;
  }
  return result;
}

}  // namespace vmnat::bench
