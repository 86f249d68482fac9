// SPDX-License-Identifier: Apache-2.0
// The part of a port that workers use around their sleep, and librte_vhost's thread to wake them.
#include "dataplane/device/vhost_port.h"

#include <fcntl.h>

namespace vmnat::dataplane {

// While the ring is marked nobody closes its eventfd.
WakeSource VhostPort::ask_to_wake(std::uint16_t queue, std::uint32_t known) {
  return at_ring(2u * queue + 1, [=, this](int guest, Ring& ring) -> WakeSource {
    if (guest != kDrivenHere) return {.kind = WakeSource::Kind::None};
    if (!ring.queue.is_open()) return {};
    WakeSource source{.kind = WakeSource::Kind::Descriptor,
                      .generation = generation_.load(std::memory_order_relaxed)};
    if (source.generation != known) source.descriptor = fcntl(ring.queue.kick_fd(), F_DUPFD_CLOEXEC, 0);
    if (source.generation != known && source.descriptor < 0) return {.kind = WakeSource::Kind::None};
    ring.queue.ask_for_kick();
    return source;
  });
}

void VhostPort::stop_waking(std::uint16_t queue) {
  at_ring(2u * queue + 1, [](int guest, Ring& ring) {
    if (guest == kDrivenHere) ring.queue.refuse_kicks();
    return true;
  });
}

bool VhostPort::has_waiting(std::uint16_t queue) {
  return at_ring(2u * queue + 1,
                 [](int guest, Ring& ring) { return guest == kDrivenHere && ring.queue.has_waiting(); });
}

// Those that were not said yet belong to workers that have not begun: what they find is this change, or later.
void VhostPort::ring_doorbells() {
  for (auto& worker : workers_)
    if (Doorbell* const doorbell = worker.load()) doorbell->ring();
  if (Doorbell* const doorbell = control_.load()) doorbell->ring();
}

}  // namespace vmnat::dataplane
