// SPDX-License-Identifier: Apache-2.0
// Inspection: a worker looks into its conntrack for control, between two polls. For debugging: forwarding
// rests meanwhile.
//
// Control fills an Inspection and hands it in; the worker runs it on its own thread and hands it back. It
// must live until then. A worker has one at a time.
#pragma once

#include <atomic>

#include "conntrack/conntrack.h"

namespace vmnat::dataplane {

struct Inspection {
  using Look = void (*)(const conntrack::Conntrack& conntrack, Inspection& inspection);
  Look look = nullptr;
};

class InspectionBox {
 public:
  // Control's side.
  [[nodiscard]] bool is_idle() const {
    // Pairs with the release store of run(): what was found is whole.
    return asked_.load(std::memory_order_acquire) == nullptr;
  }
  void ask(Inspection& inspection) { asked_.store(&inspection, std::memory_order_release); }

  // The worker's side.
  [[nodiscard]] bool has_work() const { return asked_.load(std::memory_order_relaxed) != nullptr; }
  [[gnu::cold]] void run(const conntrack::Conntrack& conntrack) {
    // Pairs with the release store of ask().
    Inspection& inspection = *asked_.load(std::memory_order_acquire);
    inspection.look(conntrack, inspection);
    asked_.store(nullptr, std::memory_order_release);
  }

 private:
  std::atomic<Inspection*> asked_{nullptr};
};

}  // namespace vmnat::dataplane
