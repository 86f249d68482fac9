// SPDX-License-Identifier: Apache-2.0
// Worker barrier: the side of dataplane/device/worker_gate.h that waits.
#pragma once

#include <linux/membarrier.h>
#include <rte_pause.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace vmnat::control {

// Before the first wait; false: the kernel has no membarrier(2).
inline bool prepare_worker_barrier() {
  return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

// When this returns, no worker is at the port that does not know what was said before.
template <typename Port>
void wait_for_workers(const Port& port) {
  syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);  // prepared: cannot fail
  while (port.is_in_use()) rte_pause();
}

}  // namespace vmnat::control
