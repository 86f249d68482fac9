// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/mss_clamp.h"

#include <algorithm>

#include "net/checksum.h"
#include "net/wire.h"

namespace vmnat::dataplane {
namespace {

// RFC 9293 3.1: kind, length, value.
struct MssOption {
  std::uint8_t kind;
  std::uint8_t length;
  net::Be16 value;
};
constexpr std::byte kEndOfList{0}, kNoOperation{1}, kMss{2};

// A value at an odd offset lies across two words of the sum, its bytes the other way round in each.
net::ChecksumDelta delta_of(net::Be16 before, net::Be16 after, std::size_t offset) {
  return offset % 2 == 0 ? net::ChecksumDelta::of(before.raw(), after.raw())
                         : net::ChecksumDelta::of(before.host(), after.host());
}

void lower(std::span<std::byte> segment, std::size_t at, std::uint16_t most) {
  auto& option = *net::mutable_view<MssOption>(segment, at);
  if (option.value.host() <= most) return;
  const auto value = net::Be16::from_host(most);
  auto& tcp = *net::mutable_view<net::TcpHeader>(segment);
  tcp.checksum = delta_of(option.value, value, at + offsetof(MssOption, value)).applied_to(tcp.checksum);
  option.value = value;
}

}  // namespace

void clamp_mss(std::span<std::byte> segment, std::uint16_t most) {
  const std::size_t end = std::min(net::view<net::TcpHeader>(segment)->header_length(), segment.size());
  for (std::size_t at = sizeof(net::TcpHeader); at < end && segment[at] != kEndOfList;) {
    if (segment[at] == kNoOperation) {
      ++at;
      continue;
    }
    if (end - at < 2) return;
    const auto length = static_cast<std::size_t>(segment[at + 1]);
    if (length < 2 || length > end - at) return;
    if (segment[at] == kMss && length == sizeof(MssOption)) lower(segment, at, most);
    at += length;
  }
}

}  // namespace vmnat::dataplane
