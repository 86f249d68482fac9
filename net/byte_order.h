// SPDX-License-Identifier: Apache-2.0
// BigEndian<T>: an integer as it stands on the wire.
//
// Why a type of its own: (1) mixing host and network order is the classic bug of packet code, and here it
// does not compile; (2) wire structures made of it have alignment 1, so a header may stand at any offset.
// There is no implicit conversion in either direction, and none may be added: `host()` and `from_host()`
// are the only doors. Example: Be16::from_host(0x0800) is the bytes 08 00.
#pragma once

#include <bit>
#include <compare>
#include <concepts>
#include <cstdint>
#include <type_traits>

namespace vmnat::net {

static_assert(std::endian::native == std::endian::little,
              "byte order code is written for little-endian hosts");

template <std::unsigned_integral T>
constexpr T byte_swapped(T value) {
  if constexpr (sizeof(T) == 1) return value;
  if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
}

// Packed: a scalar that may stand anywhere in a frame. (As an array of bytes it would not be kept in a
// register.)
template <std::unsigned_integral T>
class [[gnu::packed]] BigEndian {
 public:
  constexpr BigEndian() = default;
  static constexpr BigEndian from_host(T value) { return from_raw(byte_swapped(value)); }
  // `raw` is the value as a plain load from memory gives it.
  static constexpr BigEndian from_raw(T raw) {
    BigEndian result;
    result.raw_ = raw;
    return result;
  }

  [[nodiscard]] constexpr T host() const { return byte_swapped(raw_); }
  [[nodiscard]] constexpr T raw() const { return raw_; }

  constexpr bool operator==(const BigEndian& other) const { return raw() == other.raw(); }
  constexpr auto operator<=>(const BigEndian& other) const { return host() <=> other.host(); }

 private:
  T raw_ = 0;
};

using Be16 = BigEndian<std::uint16_t>;
using Be32 = BigEndian<std::uint32_t>;

static_assert(sizeof(Be16) == 2 && alignof(Be16) == 1 && std::is_trivially_copyable_v<Be16>);
static_assert(sizeof(Be32) == 4 && alignof(Be32) == 1 && std::is_trivially_copyable_v<Be32>);
static_assert(Be16::from_host(0x0800).raw() == 0x0008);
static_assert(Be32::from_host(0xc0a87a01).host() == 0xc0a87a01);

}  // namespace vmnat::net
