// SPDX-License-Identifier: Apache-2.0
// The commands that change the configuration in effect, as vmnatctl's subcommands: `port add`, `pool drain`, ...
// and `reload`. A word and a verb are one command for the daemon: "port add" is port-add.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "control/ctl/command_line.h"

namespace vmnat::ctl {

class ChangeOptions {
 public:
  void add_to(CLI::App& app);
  // Fills in what the daemon is asked, if `chosen` is one of these commands. Answers what is wrong, or nothing.
  std::string take(const CLI::App& chosen, CommandLine& line) const;

 private:
  CLI::App* verb(CLI::App& noun, const std::string& name);
  CLI::Option* positional(CLI::App& command, const std::string& shown, const std::string& argument,
                          const std::string& says);
  CLI::Option* option(CLI::App& command, const std::string& name, const std::string& says);
  void add_port(CLI::App& app);
  void add_network(CLI::App& app);
  void add_forward(CLI::App& app);
  void add_pool(CLI::App& app);

  std::map<std::string, std::string> texts_;  // by the daemon's name of the argument
  bool persistent_ = false;
  bool dry_run_ = false;
};

// The subcommand `name`, with the help of the daemon's command of that name, or of `row`.
CLI::App* add_command(CLI::App& app, std::string_view name, std::string_view row = {});

// Checks for options, as CLI11 wants them: what is wrong with the text, or nothing.
std::string checked_mac(const std::string& text);
std::string checked_address(const std::string& text);

}  // namespace vmnat::ctl
