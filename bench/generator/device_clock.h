// SPDX-License-Identifier: Apache-2.0
// DeviceClock: what the device's worker has done so far, told by whoever runs the device.
//
// The generator cannot see it, and is the slower one itself where the device is fast. So it asks on a stream socket before
// and after what it measures, while nothing is under way:
//
//   generator: "?\n"    the runner: "FRAMES TICKS\n"   received by the worker since its start, and time stamp counter ticks of
//                                                      the turns that found frames; "-\n": this device does not say
#pragma once

#include <cstdint>
#include <optional>

namespace vmnat::bench {

struct DeviceWork {
  std::uint64_t frames = 0;
  std::uint64_t ticks = 0;
};

class DeviceClock {
 public:
  // Negative: nobody answers.
  explicit DeviceClock(int descriptor) : descriptor_(descriptor) {}

  [[nodiscard]] bool is_there() const { return descriptor_ >= 0; }
  // Nothing when the device does not say. Throws std::runtime_error when the other end has gone or makes no sense.
  [[nodiscard]] std::optional<DeviceWork> read() const;

 private:
  int descriptor_;
};

}  // namespace vmnat::bench
