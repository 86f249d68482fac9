// SPDX-License-Identifier: Apache-2.0
// What is wrong with a configuration, and where: `FILE:LINE:COL: message`, counted from 1; or, of what a script
// has asked for, which has no lines, `port vm9 (by a script): message`.
#pragma once

#include <string>
#include <tuple>

namespace vmnat::config {

struct Position {
  unsigned line = 1, column = 1;  // line 0: there are no lines
  unsigned source = 0;            // of Document::sources; 0: the file
  bool operator==(const Position&) const = default;
  bool operator<(const Position& o) const {
    return std::tie(source, line, column) < std::tie(o.source, o.line, o.column);
  }
};

struct Problem {
  std::string file;  // or whatever it is that has the problem
  Position at;
  std::string message;
  bool operator==(const Problem&) const = default;
};

inline std::string to_string(const Problem& problem) {
  if (problem.at.line == 0) return problem.file + ": " + problem.message;
  return problem.file + ':' + std::to_string(problem.at.line) + ':' + std::to_string(problem.at.column) +
         ": " + problem.message;
}

}  // namespace vmnat::config
