// SPDX-License-Identifier: Apache-2.0
// The line that says what a long run is doing. Only on a terminal: logs and pipes see nothing of it.
#pragma once

#include <string>

namespace vmnat::bench {

class Progress {
 public:
  // `label` stands before every text.
  explicit Progress(std::string label);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  [[nodiscard]] bool is_shown() const { return is_terminal_; }
  void show(const std::string& text);
  void clear();

 private:
  std::string label_;
  bool is_terminal_;
  bool has_text_ = false;
};

}  // namespace vmnat::bench
