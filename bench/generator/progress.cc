// SPDX-License-Identifier: Apache-2.0
// One line of standard error, written over and over.
#include "bench/generator/progress.h"

#include <cstdio>
#include <fmt/format.h>
#include <unistd.h>

namespace vmnat::bench {

Progress::Progress(std::string label) : label_(std::move(label)), is_terminal_(isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  clear();
}

void Progress::show(const std::string& text) {
  if (!is_terminal_) return;
  fmt::print(stderr, "\r\033[K{}{}", label_, text);
  std::fflush(stderr);
  has_text_ = true;
}

void Progress::clear() {
  if (!has_text_) return;
  fmt::print(stderr, "\r\033[K");
  std::fflush(stderr);
  has_text_ = false;
}

}  // namespace vmnat::bench
