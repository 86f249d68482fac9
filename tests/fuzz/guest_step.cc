// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/guest_step.h"

#include <algorithm>
#include <bit>

#include "tests/fuzz/oracle.h"

namespace vmnat::fuzz {

using dataplane::virtio::NetHeader;
using test::Bytes;
namespace virtio = dataplane::virtio;

namespace {

constexpr std::size_t kLongestOnWire = 9014;
constexpr std::uint8_t kIndirect = 8;
constexpr std::size_t kStepHead = 18;

// Single bytes below 128, from there on 256 a step: a frame of 64 KB in one piece or in hundreds.
std::size_t bytes_of_piece(std::uint8_t said) {
  return said < 128 ? said : (said - 127u) * 256;
}

std::size_t big_endian(std::span<const std::uint8_t> bytes) {
  return static_cast<std::size_t>(bytes[0]) << 8 | bytes[1];
}

void set_lengths(Bytes& frame, std::uint8_t said, std::size_t most) {
  if (const std::size_t length = kFrameLengths[said >> 4]; length != 0) {
    const std::size_t given = frame.size();
    frame.resize(std::min(length, most));
    for (std::size_t at = given; at < frame.size(); ++at) frame[at] = static_cast<std::byte>(at * 7 + 1);
  }
  std::size_t ip_length = kIpLengths[said & 15];
  if (ip_length == 0 || frame.size() < net::kIpOffset + 20 || word_at(frame, 12) != 0x0800) return;
  if (ip_length >= kRight - 1) ip_length = ip_length - kRight + frame.size() - net::kIpOffset;
  frame[16] = static_cast<std::byte>(std::min<std::size_t>(ip_length, 0xffff) >> 8);
  frame[17] = static_cast<std::byte>(std::min<std::size_t>(ip_length, 0xffff));
}

void set_header(NetHeader& header, const Bytes& frame, std::uint8_t said) {
  if (const std::uint16_t size = kSegmentSizes[said & 15]; size != 0) header.segment_size = size;
  const Offload& offload = kOffloads[said >> 4 & 7];
  if (offload.is_as_it_stands) return;
  const auto [l4, field] = checksum_place(frame);
  header.flags = offload.flags;
  header.segmentation = offload.segmentation;
  header.headers_length = static_cast<std::uint16_t>(l4 + (field == 16 ? 20 : 8));
  header.checksum_start = static_cast<std::uint16_t>(l4);
  header.checksum_offset = static_cast<std::uint16_t>(field);
}

}  // namespace

std::pair<std::size_t, std::size_t> checksum_place(const Bytes& frame) {
  if (frame.size() < net::kIpOffset + 20) return {34, 16};
  const bool is_ipv6 = word_at(frame, 12) == 0x86dd;
  const std::size_t l4 =
      net::kIpOffset + (is_ipv6 ? 40 : (static_cast<std::size_t>(frame[net::kIpOffset]) & 15) * 4);
  const auto protocol = static_cast<unsigned>(frame[is_ipv6 ? 20 : 23]);
  return {l4, protocol == 6 ? 16 : protocol == 17 ? 6 : 2};
}

bool next_step(std::span<const std::uint8_t>& input, Step& step) {
  if (input.size() <= kStepHead) return false;
  constexpr std::array kPorts = {test::kVm1, test::kVm1, test::kVm1, test::kVm1,
                                 test::kVm2, test::kVm2, test::kVm3, test::kUplink};
  step.port = kPorts[input[0] % kPorts.size()];
  step.mends = input[1];
  step.layout = {bytes_of_piece(input[2]), bytes_of_piece(input[3]), (step.mends & kIndirect) != 0};
  std::array<std::uint8_t, sizeof(NetHeader)> header{};
  std::copy_n(input.begin() + 6, virtio::kShortNetHeader, header.begin());
  step.header = std::bit_cast<NetHeader>(header);
  const std::size_t told = big_endian(input.subspan(16));
  const auto bytes = std::as_bytes(input.subspan(kStepHead, std::min(told, input.size() - kStepHead)));
  step.frame.assign(bytes.begin(), bytes.end());
  set_lengths(step.frame, input[4], is_guest(step.port) ? GuestRings::kLongest : kLongestOnWire);
  set_header(step.header, step.frame, input[5]);
  mend(step.frame, step.mends);
  input = input.subspan(kStepHead + bytes.size());
  return true;
}

}  // namespace vmnat::fuzz
