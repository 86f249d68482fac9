// SPDX-License-Identifier: Apache-2.0
// Finding: a row of findings.h with what was seen, of what, and the names filled in.
#pragma once

#include <fmt/format.h>
#include <string>
#include <utility>
#include <vector>

#include "control/doctor/findings.h"

namespace vmnat::doctor {

struct Finding {
  const Row* row = nullptr;
  std::string object;  // "port vm1", "CPU 3": what is to be looked at
  std::string seen;    // a sentence without a full stop
  std::string mend;
};

// An id that has a row.
struct RowId {
  // NOLINTNEXTLINE: converts; without a row it does not compile
  consteval RowId(const char* id) : row(*find_row(id)) {}
  const Row& row;
};

class Findings {
 public:
  // `names`: what the row's command has in braces, as fmt::arg("port", "vm1").
  template <typename... Names>
  void add(RowId id, std::string object, std::string seen, const Names&... names) {
    found_.push_back(
        {&id.row, std::move(object), std::move(seen), fmt::format(fmt::runtime(id.row.mend), names...)});
  }
  // The worst first, else by the order of the rows.
  std::vector<Finding> take();

 private:
  std::vector<Finding> found_;
};

}  // namespace vmnat::doctor
