// SPDX-License-Identifier: Apache-2.0
// What is wrong with a configuration file, and where: `FILE:LINE:COL: message`, counted from 1.
#pragma once

#include <compare>
#include <string>

namespace vmnat::config {

struct Position {
  unsigned line = 1, column = 1;
  auto operator<=>(const Position&) const = default;
};

struct Problem {
  std::string file;
  Position at;
  std::string message;
  bool operator==(const Problem&) const = default;
};

inline std::string to_string(const Problem& problem) {
  return problem.file + ':' + std::to_string(problem.at.line) + ':' + std::to_string(problem.at.column) +
         ": " + problem.message;
}

}  // namespace vmnat::config
