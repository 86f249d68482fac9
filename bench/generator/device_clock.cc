// SPDX-License-Identifier: Apache-2.0
#include "bench/generator/device_clock.h"

#include <cstdio>
#include <stdexcept>
#include <string>
#include <unistd.h>

namespace vmnat::bench {
namespace {

constexpr std::size_t kLongestAnswer = 64;

std::string answer_from(int descriptor) {
  std::string answer;
  for (char next = 0; answer.size() < kLongestAnswer && read(descriptor, &next, 1) == 1; answer += next)
    if (next == '\n') return answer;
  throw std::runtime_error("the device's work is not told any more");
}

}  // namespace

std::optional<DeviceWork> DeviceClock::read() const {
  if (!is_there()) return std::nullopt;
  if (write(descriptor_, "?\n", 2) != 2) throw std::runtime_error("nobody tells the device's work");
  const std::string answer = answer_from(descriptor_);
  if (answer == "-") return std::nullopt;
  unsigned long long frames = 0, ticks = 0;
  if (std::sscanf(answer.c_str(), "%llu %llu", &frames, &ticks) != 2)
    throw std::runtime_error("the device's work is told as '" + answer + "'");
  return DeviceWork{frames, ticks};
}

}  // namespace vmnat::bench
