// SPDX-License-Identifier: Apache-2.0
// WorkerFlush: every worker ends the sessions that a selector names, bit by bit, while control goes on.
//
// One is under way at a time, for the workers' boxes hold one request each: others wait for their turn. One
// that is given up gives its turn back, and what it had begun is finished by the workers.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "dataplane/worker/flush.h"

namespace vmnat::control {

class Launched;

class WorkerFlush : public std::enable_shared_from_this<WorkerFlush> {
 public:
  using Turn = std::weak_ptr<WorkerFlush>;  // whose it is; expired: nobody's

  WorkerFlush(const Launched& launched, const dataplane::SessionSelector& selector)
      : launched_(launched), selector_(selector) {}

  // How many sessions were ended, once all workers are done. Called again and again until then.
  std::optional<std::uint64_t> poll();

 private:
  [[nodiscard]] dataplane::FlushBox& box(std::size_t worker) const;
  bool ask();

  const Launched& launched_;
  dataplane::SessionSelector selector_;
  std::vector<std::uint64_t> tickets_;  // by worker
};

}  // namespace vmnat::control
