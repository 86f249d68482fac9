// SPDX-License-Identifier: Apache-2.0
// Doorbell: wakes a thread that sleeps when another one has left something for it: a frame in a ring, a
// state, a request.
//
// Each side first says what it does, then looks at what the other one says:
//
//   who sleeps                              who comes
//     listen():  is_asleep = true             pushes a frame
//                fence                        ring():  fence
//     looks into the ring                              is_asleep? -> false, write(eventfd)
//     waits for the eventfd
//
// One of the fences is the first. If it is the sleeper's, who comes sees is_asleep, and the eventfd is readable
// whether the sleeper waits already or not yet. If it is the other's, the sleeper finds the frame. Of several who
// come, the first one writes; the others are found by the look that follows each wait: listen() comes first there, too.
//
// So who comes pays a fence and the load of a line that is written only when its owner falls asleep or wakes
// up. Who waits does so edge-triggered, with epoll, and reads nothing.
#pragma once

#include <atomic>

#include "base/cache_line.h"

namespace vmnat::dataplane {

class alignas(kCacheLineSize) Doorbell {
 public:
  Doorbell();
  Doorbell(const Doorbell&) = delete;
  Doorbell& operator=(const Doorbell&) = delete;
  ~Doorbell();

  // Its owner's side. Between listen() and a wait the owner looks at all that it is woken for.
  void listen() {
    is_asleep_.store(true, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with that of ring()
  }
  void ignore() { is_asleep_.store(false, std::memory_order_relaxed); }
  // Becomes readable when it rings; negative when the process had no descriptor left.
  [[nodiscard]] int descriptor() const { return descriptor_; }

  // Any thread, after it has left something.
  void ring() {
    std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with that of listen()
    if (is_asleep_.load(std::memory_order_relaxed)) wake();
  }

 private:
  [[gnu::cold]] void wake();

  std::atomic<bool> is_asleep_{false};
  int descriptor_;
};

}  // namespace vmnat::dataplane
