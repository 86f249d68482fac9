// SPDX-License-Identifier: Apache-2.0
// The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//
// A ChecksumDelta is what a rewrite adds to the one's complement sum of a header: computed once per
// session, applied to every packet. For a field m that becomes m', delta = ~m + m', and the new checksum
// is HC' = ~(~HC + delta) (RFC 1624 eqn. 3). All words are taken as plain loads from memory: the sum is
// the same in either byte order (RFC 1071 section 2 (B)), so nothing is swapped.
// Deltas of several fields add up; the delta of the way back is the one's complement negation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "net/address.h"
#include "net/byte_order.h"
#include "net/wire.h"

namespace vmnat::net {

// Adds the carries of a one's complement sum back in: 16 bits remain.
constexpr std::uint16_t folded_word(std::uint32_t sum) {
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum + (sum >> 16));
}
constexpr std::uint16_t folded(std::uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  return folded_word(static_cast<std::uint32_t>(sum));
}
static_assert(folded_word(0xffff'ffff) == 0xffff && folded_word(0x1'ffff) == 1 &&
              folded(~std::uint64_t{0}) == 0xffff);

class ChecksumDelta {
 public:
  constexpr ChecksumDelta() = default;
  static constexpr ChecksumDelta of(std::uint16_t old_raw, std::uint16_t new_raw) {
    return ChecksumDelta{folded_word(std::uint32_t{static_cast<std::uint16_t>(~old_raw)} + new_raw)};
  }
  static constexpr ChecksumDelta of(L4Port old_port, L4Port new_port) {
    return of(old_port.raw(), new_port.raw());
  }
  static constexpr ChecksumDelta of(Ipv4Addr old_address, Ipv4Addr new_address) {
    return ChecksumDelta{
        folded(std::uint64_t{static_cast<std::uint32_t>(~old_address.raw())} + new_address.raw())};
  }

  constexpr ChecksumDelta operator+(ChecksumDelta other) const {
    return ChecksumDelta{folded_word(std::uint32_t{value_} + other.value_)};
  }
  // The delta that undoes this one.
  [[nodiscard]] constexpr ChecksumDelta negated() const {
    return ChecksumDelta{static_cast<std::uint16_t>(~value_)};
  }
  // A checksum field after the rewrite. Never 0xffff for a header that is not all zero (RFC 1624 section 3).
  [[nodiscard]] constexpr Be16 applied_to(Be16 checksum) const {
    const auto inverted = static_cast<std::uint16_t>(~checksum.raw());
    return Be16::from_raw(static_cast<std::uint16_t>(~folded_word(std::uint32_t{inverted} + value_)));
  }
  // The same for a UDP field: 0 means "no checksum" and stays, a computed 0 is sent as 0xffff (RFC 768).
  [[nodiscard]] constexpr Be16 applied_to_udp(Be16 checksum) const {
    if (checksum.raw() == 0) return checksum;
    const Be16 result = applied_to(checksum);
    return result.raw() == 0 ? Be16::from_raw(0xffff) : result;
  }

  [[nodiscard]] constexpr std::uint16_t raw() const { return value_; }
  static constexpr ChecksumDelta from_raw(std::uint16_t value) { return ChecksumDelta{value}; }
  constexpr bool operator==(const ChecksumDelta&) const = default;

 private:
  constexpr explicit ChecksumDelta(std::uint16_t value) : value_(value) {}
  std::uint16_t value_ = 0;
};

// One hop: the TTL stands in the low byte of its word of the sum, so one less is the same delta whatever the
// TTL.
inline constexpr ChecksumDelta kHopDelta = ChecksumDelta::of(std::uint16_t{2}, std::uint16_t{1});

// RFC 1624 section 4's worked example: HC = 0xDD2F, m = 0x5555, m' = 0x3285 gives HC' = 0x0000.
static_assert(ChecksumDelta::of(std::uint16_t{0x5555}, std::uint16_t{0x3285})
                  .applied_to(Be16::from_raw(0xdd2f))
                  .raw() == 0x0000);

// Unfolded one's complement sum of `bytes` (an odd last byte is padded with zero), added to `sum`.
inline std::uint64_t added_sum(std::span<const std::byte> bytes, std::uint64_t sum = 0) {
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 4; at += 4, left -= 4) {
    std::uint32_t word;
    std::memcpy(&word, at, 4);
    sum += word;
  }
  if (left >= 2) {
    std::uint16_t word;
    std::memcpy(&word, at, 2);
    sum += word;
    at += 2;
    left -= 2;
  }
  if (left == 1) sum += static_cast<std::uint8_t>(*at);
  return sum;
}

// The same for the 20 bytes of an IPv4 header without options.
inline std::uint64_t plain_header_sum(const Ipv4Header& header) {
  static_assert(sizeof header == 20);
  const auto word = [&](std::size_t i) {  // one by one: an array of them would go by way of the stack
    std::uint32_t value;
    std::memcpy(&value, reinterpret_cast<const std::byte*>(&header) + 4 * i, sizeof value);
    return std::uint64_t{value};
  };
  return word(0) + word(1) + word(2) + word(3) + word(4);
}

// The checksum field's value for a sum taken with the field itself as zero.
constexpr Be16 checksum_of(std::uint64_t sum) {
  return Be16::from_raw(static_cast<std::uint16_t>(~folded(sum)));
}
// The same for UDP, where a computed 0 is sent as 0xffff: a field of 0 says that there is no checksum (RFC
// 768).
constexpr Be16 udp_checksum_of(std::uint64_t sum) {
  const Be16 checksum = checksum_of(sum);
  return checksum.raw() == 0 ? Be16::from_raw(0xffff) : checksum;
}
// Whether a sum is right that was taken over all that a checksum covers, with its field (RFC 1071 section 1).
constexpr bool is_intact(std::uint64_t sum) {
  return folded(sum) == 0xffff;
}

// Writes the checksum of an IPv4 header; its options lie behind it.
inline void write_checksum(Ipv4Header& header) {
  header.checksum = {};
  header.checksum =
      checksum_of(added_sum({reinterpret_cast<const std::byte*>(&header), header.header_length()}));
}

// Sum of the TCP/UDP pseudo-header (RFC 793 section 3.1, RFC 768). `l4_length` in bytes.
constexpr std::uint64_t pseudo_header_sum(Ipv4Addr from, Ipv4Addr to, std::uint8_t protocol,
                                          std::uint16_t l4_length) {
  return std::uint64_t{from.raw()} + to.raw() + Be16::from_host(protocol).raw() +
         Be16::from_host(l4_length).raw();
}

}  // namespace vmnat::net
