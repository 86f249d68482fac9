// SPDX-License-Identifier: Apache-2.0
#include "control/system/boot_clock.h"

#include <ctime>

namespace vmnat::control {

BootTime boot_time() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return BootTime{std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec)};
}

}  // namespace vmnat::control
