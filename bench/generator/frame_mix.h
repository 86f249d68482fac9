// SPDX-License-Identifier: Apache-2.0
// FrameMix: which frame sizes a load has, as a short cycle that is sent over and over.
//
// "64" is a cycle of one; "imix" is the simple IMIX, 7:4:1 frames of 64, 594 and 1518 bytes, spread so that
// large frames do not come together. Sizes are as on the wire, with the FCS: IMIX is 361.8 bytes on average.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/generator/frame.h"

namespace vmnat::bench {

class FrameMix {
 public:
  // Throws std::invalid_argument outside of 64..1518.
  static FrameMix of_size(unsigned wire_size);
  static FrameMix imix();
  // "64", "1518", "imix"; nothing when it is none of these.
  static std::optional<FrameMix> parse(std::string_view text);

  [[nodiscard]] const std::string& name() const { return name_; }
  // One cycle; the n-th frame has size cycle()[n % cycle().size()].
  [[nodiscard]] const std::vector<unsigned>& cycle() const { return cycle_; }
  [[nodiscard]] unsigned largest() const;
  [[nodiscard]] double mean() const;
  // Whether a frame of this length, without FCS, belongs to the mix.
  [[nodiscard]] bool has_length(std::size_t length) const {
    for (const unsigned size : cycle_)
      if (size == length + kFcsLength) return true;
    return false;
  }
  // How many frames a row over `flows` flows has: each flow once, and whole cycles.
  [[nodiscard]] std::size_t row_length(std::size_t flows) const;

 private:
  FrameMix(std::string name, std::vector<unsigned> cycle)
      : name_(std::move(name)), cycle_(std::move(cycle)) {}

  std::string name_;
  std::vector<unsigned> cycle_;
};

// What `mpps` frames of this mix are on an Ethernet wire, with preamble and gap (20 bytes a frame).
double wire_gbps(const FrameMix& mix, double mpps);

}  // namespace vmnat::bench
