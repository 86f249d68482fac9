// SPDX-License-Identifier: Apache-2.0
#include "dataplane/device/doorbell.h"

#include <sys/eventfd.h>
#include <unistd.h>

namespace vmnat::dataplane {

Doorbell::Doorbell() : descriptor_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

Doorbell::~Doorbell() {
  if (descriptor_ >= 0) close(descriptor_);
}

void Doorbell::wake() {
  if (is_asleep_.exchange(false, std::memory_order_relaxed)) eventfd_write(descriptor_, 1);
}

}  // namespace vmnat::dataplane
