// SPDX-License-Identifier: Apache-2.0
// `capture` and `trace`: their options, checked, and the filter compiled.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "control/ctl/command_line.h"

namespace vmnat::ctl {

class ObserveOptions {
 public:
  void add_to(CLI::App& app);
  // Fills in what the daemon is asked, if `chosen` is one of these commands. Answers what is wrong, or nothing.
  std::string take(const CLI::App& chosen, CommandLine& line) const;

 private:
  void add_capture(CLI::App& app);
  void add_trace(CLI::App& app);
  std::string take_filter(CommandLine& line) const;

  std::string port_, expression_, write_, buffer_;
  std::vector<std::string> words_;  // of a filter that is not one argument
  std::uint64_t count_ = 0, snap_ = 0;
  bool all_ = false, drops_ = false;
};

}  // namespace vmnat::ctl
