// SPDX-License-Identifier: Apache-2.0
// WorkerGate: keeps another thread from changing what a worker is at, for two plain stores a burst and no fence.
//
// The worker marks the gate before it asks whether it may go on; who wants the workers away says so first, then
// waits until no gate is marked:
//
//   worker                                 who changes something
//     enter: is_inside = true                no worker may go on
//     may I? -> burst                        wait_for_workers(): workers see that, or their marks are seen here
//     leave: is_inside = false               change it; workers may go on
#pragma once

#include <atomic>

namespace vmnat::dataplane {

class WorkerGate {
 public:
  // Inside for as long as it lives.
  class Pass {
   public:
    explicit Pass(WorkerGate& gate) : gate_(gate) {
      gate_.is_inside_.store(true, std::memory_order_relaxed);
      std::atomic_signal_fence(std::memory_order_seq_cst);  // pairs with the membarrier after a change
    }
    ~Pass() { gate_.is_inside_.store(false, std::memory_order_release); }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    WorkerGate& gate_;
  };
  [[nodiscard]] bool is_inside() const { return is_inside_.load(std::memory_order_acquire); }

 private:
  std::atomic<bool> is_inside_{false};
};

}  // namespace vmnat::dataplane
