// SPDX-License-Identifier: Apache-2.0
// The part of a port that workers use around their sleep.
#include "dataplane/device/kernel_port.h"

namespace vmnat::dataplane {

// By the clock: woken by the socket's descriptor alone, a worker was seen to answer DHCP tens of milliseconds late.
WakeSource KernelPort::ask_to_wake(std::uint16_t, std::uint32_t) {
  return {.kind = WakeSource::Kind::None};
}

bool KernelPort::has_waiting(std::uint16_t queue) {
  return at(queue, [](const auto& end) { return end.has_waiting(); });
}

}  // namespace vmnat::dataplane
