// SPDX-License-Identifier: Apache-2.0
// WakeSource: what a worker that wants to sleep is told by a receive queue: how it will hear of the next frame.
#pragma once

#include <cstdint>

namespace vmnat::dataplane {

struct WakeSource {
  enum class Kind : std::uint8_t {
    Doorbell,    // none comes before the worker's doorbell rings: there is no guest, or its ring is closed
    Descriptor,  // a descriptor becomes readable
    None,        // the worker has to look
  };
  Kind kind = Kind::Doorbell;
  // Of a descriptor: its number among those that the queue has had, from 1 on; and itself, unless the caller
  // has the one of this number already. It is the caller's, to be closed.
  std::uint32_t generation = 0;
  int descriptor = -1;
};

}  // namespace vmnat::dataplane
