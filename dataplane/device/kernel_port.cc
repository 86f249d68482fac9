// SPDX-License-Identifier: Apache-2.0
// The part of a port that workers use around their sleep.
#include "dataplane/device/kernel_port.h"

#include <fcntl.h>

namespace vmnat::dataplane {

// While the worker is inside its gate nobody closes the descriptor.
WakeSource KernelPort::ask_to_wake(std::uint16_t queue, std::uint32_t known) {
  return at(queue, [=, this](auto& end) -> WakeSource {
    WakeSource source{.kind = WakeSource::Kind::Descriptor, .generation = openings()};
    if (source.generation == known) return source;
    source.descriptor = fcntl(end.descriptor(), F_DUPFD_CLOEXEC, 0);
    return source.descriptor >= 0 ? source : WakeSource{.kind = WakeSource::Kind::None};
  });
}

bool KernelPort::has_waiting(std::uint16_t queue) {
  return at(queue, [](const auto& end) { return end.has_waiting(); });
}

}  // namespace vmnat::dataplane
