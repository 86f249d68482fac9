// SPDX-License-Identifier: Apache-2.0
#include "tests/support/fragment_builder.h"

#include <algorithm>
#include <cstring>

namespace vmnat::test {
namespace {

net::Ipv4Header& ip_of(Bytes& frame) {
  return *net::mutable_view<net::Ipv4Header>(frame, net::kIpOffset);
}
const net::Ipv4Header& ip_of(const Bytes& frame) {
  return *net::view<net::Ipv4Header>(frame, net::kIpOffset);
}
std::size_t payload_at(const Bytes& frame) {
  return net::kIpOffset + ip_of(frame).header_length();
}
std::size_t begin_of(const Bytes& frame) {
  return std::size_t{ip_of(frame).fragment_offset()} * 8;
}

Bytes::difference_type distance(std::size_t n) {
  return static_cast<Bytes::difference_type>(n);
}

}  // namespace

Bytes with_id(Bytes frame, std::uint16_t id) {
  ip_of(frame).identification = net::Be16::from_host(id);
  mend_ip_checksum(frame);
  return frame;
}

std::uint16_t id_of(const Bytes& frame) {
  return ip_of(frame).identification.host();
}

std::size_t payload_size(const Bytes& frame) {
  return ip_of(frame).total_length.host() - ip_of(frame).header_length();
}

Bytes piece(const Bytes& frame, std::size_t begin, std::size_t end) {
  const std::size_t start = payload_at(frame);
  Bytes result(frame.begin(), frame.begin() + distance(start));
  result.insert(result.end(), frame.begin() + distance(start + begin), frame.begin() + distance(start + end));
  const bool has_more = end < payload_size(frame) || ip_of(frame).more_fragments();
  ip_of(result).total_length =
      net::Be16::from_host(static_cast<std::uint16_t>(result.size() - net::kIpOffset));
  ip_of(result).fragment = net::Be16::from_host(static_cast<std::uint16_t>(
      (has_more ? 0x2000u : 0u) | (ip_of(frame).fragment.host() & 0x4000u) | (begin_of(frame) + begin) / 8));
  mend_ip_checksum(result);
  return result;
}

std::vector<Bytes> cut(const Bytes& frame, std::size_t size) {
  std::vector<Bytes> pieces;
  const std::size_t total = payload_size(frame);
  for (std::size_t at = 0; at < total; at += size)
    pieces.push_back(piece(frame, at, std::min(at + size, total)));
  return pieces;
}

std::optional<Bytes> joined(std::vector<Bytes> fragments) {
  std::ranges::sort(fragments, {}, begin_of);
  if (fragments.empty() || begin_of(fragments.front()) != 0 || ip_of(fragments.back()).more_fragments())
    return std::nullopt;
  const net::Ipv4Header& first = ip_of(fragments.front());
  Bytes whole(fragments.front().begin(), fragments.front().begin() + distance(payload_at(fragments.front())));
  const std::size_t start = whole.size();
  for (const Bytes& fragment : fragments) {
    const net::Ipv4Header& ip = ip_of(fragment);
    const bool is_of_the_same = ip.source == first.source && ip.destination == first.destination &&
                                ip.identification == first.identification &&
                                ip.protocol_number == first.protocol_number;
    if (!is_of_the_same || !has_good_ip_checksum(fragment)) return std::nullopt;
    if (whole.size() - start != begin_of(fragment)) return std::nullopt;
    const auto at = fragment.begin() + distance(payload_at(fragment));
    whole.insert(whole.end(), at, at + distance(payload_size(fragment)));
  }
  ip_of(whole).total_length = net::Be16::from_host(static_cast<std::uint16_t>(whole.size() - net::kIpOffset));
  ip_of(whole).fragment = {};
  mend_ip_checksum(whole);
  return whole;
}

}  // namespace vmnat::test
