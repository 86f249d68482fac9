// SPDX-License-Identifier: Apache-2.0
#include "control/system/rfc3339.h"

#include <fmt/chrono.h>

namespace vmnat::control {

using std::chrono::floor;

std::string rfc3339(std::chrono::system_clock::time_point time) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", floor<std::chrono::seconds>(time));
}

std::string rfc3339_milliseconds(std::chrono::system_clock::time_point time) {
  const auto seconds = floor<std::chrono::seconds>(time);
  const auto rest = floor<std::chrono::milliseconds>(time - seconds);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", seconds, rest.count());
}

}  // namespace vmnat::control
