// SPDX-License-Identifier: Apache-2.0
// The `invariants` command: each worker counts its tables through and says whether they agree (index entries
// are twice the sessions, ports in use are what sessions and mappings add up to, nothing leaked).
//
// For debugging: the worker forwards nothing while it counts, some 10 ns a record and 100 ns a session.
#pragma once

#include <memory>
#include <vector>

#include "control/admin/server.h"
#include "control/gateway/workers.h"

namespace vmnat::control {

class InvariantsCheck {
 public:
  // Lives as long as the workers: they write into it.
  explicit InvariantsCheck(Workers& workers);
  InvariantsCheck(const InvariantsCheck&) = delete;
  InvariantsCheck& operator=(const InvariantsCheck&) = delete;
  ~InvariantsCheck();

  // A list: `worker`, `holds`, `why` (null when it holds). An error while one is under way.
  Result<admin::Answer> start();

 private:
  struct Finding;
  [[nodiscard]] bool is_under_way() const;
  Workers& workers_;
  std::vector<std::unique_ptr<Finding>> findings_;  // by worker
};

}  // namespace vmnat::control
