// SPDX-License-Identifier: Apache-2.0
// FrameSet: some of a burst's frames, by their places. A range: for (unsigned i : set).
#pragma once

#include <bit>
#include <cstdint>

#include "dataplane/frame/burst_size.h"

namespace vmnat::dataplane {

class FrameSet {
 public:
  class Iterator {
   public:
    constexpr explicit Iterator(std::uint64_t left) : left_(left) {}
    constexpr unsigned operator*() const { return static_cast<unsigned>(std::countr_zero(left_)); }
    constexpr Iterator& operator++() { return left_ &= left_ - 1, *this; }
    constexpr bool operator==(const Iterator&) const = default;

   private:
    std::uint64_t left_;
  };

  constexpr FrameSet() = default;
  // A bit for each; the lowest is the first frame's.
  static constexpr FrameSet of(std::uint64_t bits) { return FrameSet(bits); }
  static constexpr FrameSet first(unsigned count) {
    return FrameSet(count == 0 ? 0 : ~std::uint64_t{0} >> (kBurstSize - count));
  }

  constexpr void add(unsigned i) { bits_ |= std::uint64_t{1} << i; }
  // The first frames behind `done` others.
  constexpr void add_first(unsigned count, unsigned done) { bits_ |= first(count).bits_ << done; }
  [[nodiscard]] constexpr bool has(unsigned i) const { return (bits_ >> i & 1) != 0; }
  [[nodiscard]] constexpr bool is_empty() const { return bits_ == 0; }
  [[nodiscard]] constexpr unsigned size() const { return static_cast<unsigned>(std::popcount(bits_)); }
  // Frames up to the last one of the set.
  [[nodiscard]] constexpr unsigned reach() const { return static_cast<unsigned>(std::bit_width(bits_)); }
  [[nodiscard]] constexpr FrameSet without(FrameSet others) const { return FrameSet(bits_ & ~others.bits_); }
  [[nodiscard]] constexpr Iterator begin() const { return Iterator(bits_); }
  [[nodiscard]] constexpr Iterator end() const { return Iterator(0); }
  constexpr bool operator==(const FrameSet&) const = default;

 private:
  static_assert(kBurstSize == 64, "a bit for each");
  constexpr explicit FrameSet(std::uint64_t bits) : bits_(bits) {}
  std::uint64_t bits_ = 0;
};

}  // namespace vmnat::dataplane
