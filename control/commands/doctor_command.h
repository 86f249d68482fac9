// SPDX-License-Identifier: Apache-2.0
// The `doctor` command. What only vmnatd knows is copied on control's thread; the look at the host, which may wait for
// the kernel's locks and for disks, and the checks have a thread of their own. Whoever asks meanwhile gets the same
// findings.
#pragma once

#include <future>
#include <vector>

#include "control/admin/server.h"
#include "control/commands/context.h"
#include "control/doctor/finding.h"

namespace vmnat::control {

class DoctorCommand {
 public:
  explicit DoctorCommand(const CommandContext& at) : at_(at) {}

  // A list of findings.
  Result<admin::Answer> start();

 private:
  using Visit = std::shared_future<std::vector<doctor::Finding>>;
  [[nodiscard]] Visit begin() const;

  const CommandContext& at_;
  Visit last_;  // waited for when this ends
};

}  // namespace vmnat::control
