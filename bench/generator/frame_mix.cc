// SPDX-License-Identifier: Apache-2.0
// Sizes and cycles.
#include "bench/generator/frame_mix.h"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <stdexcept>

namespace vmnat::bench {

FrameMix FrameMix::of_size(unsigned wire_size) {
  if (wire_size < kSmallestFrame || wire_size > kLargestFrame)
    throw std::invalid_argument("frame size is not in 64..1518");
  return {std::to_string(wire_size), {wire_size}};
}

FrameMix FrameMix::imix() {
  return {"imix", {64, 594, 64, 64, 594, 64, 1518, 64, 594, 64, 64, 594}};
}

std::optional<FrameMix> FrameMix::parse(std::string_view text) {
  if (text == "imix" || text == "IMIX") return imix();
  unsigned size = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
  const bool is_size = error == std::errc{} && end == text.data() + text.size();
  if (!is_size || size < kSmallestFrame || size > kLargestFrame) return std::nullopt;
  return of_size(size);
}

unsigned FrameMix::largest() const {
  return *std::max_element(cycle_.begin(), cycle_.end());
}

double FrameMix::mean() const {
  return static_cast<double>(std::accumulate(cycle_.begin(), cycle_.end(), 0u)) /
         static_cast<double>(cycle_.size());
}

std::size_t FrameMix::row_length(std::size_t flows) const {
  return (flows + cycle_.size() - 1) / cycle_.size() * cycle_.size();
}

double wire_gbps(const FrameMix& mix, double mpps) {
  constexpr double kPreambleAndGap = 20;
  return mpps * (mix.mean() + kPreambleAndGap) * 8 / 1e3;
}

}  // namespace vmnat::bench
