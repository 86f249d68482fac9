// SPDX-License-Identifier: Apache-2.0
// Doorbells: of each worker and of control. Made before all who ring them, and gone after them.
#pragma once

#include <memory>
#include <span>

#include "dataplane/device/doorbell.h"

namespace vmnat::control {

class Doorbells {
 public:
  explicit Doorbells(unsigned workers)
      : count_(workers), of_workers_(std::make_unique<dataplane::Doorbell[]>(workers)) {}

  [[nodiscard]] std::span<dataplane::Doorbell> of_workers() { return {of_workers_.get(), count_}; }
  [[nodiscard]] dataplane::Doorbell& of_control() { return of_control_; }

 private:
  unsigned count_;
  std::unique_ptr<dataplane::Doorbell[]> of_workers_;
  dataplane::Doorbell of_control_;
};

}  // namespace vmnat::control
