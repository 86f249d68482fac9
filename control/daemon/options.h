// SPDX-License-Identifier: Apache-2.0
// The command line of vmnatd.
#pragma once

#include <optional>
#include <string>

#include "control/log/log.h"

namespace vmnat::control {

// Exit codes, part of the interface.
enum ExitCode { kStopped = 0, kBadConfiguration = 1, kCannotStart = 2, kInternalFault = 3 };

struct Options {
  std::string config_path;
  bool check_only = false;
  spdlog::level::level_enum log_level = spdlog::level::info;
  LogFormat log_format = LogFormat::Text;
};

// The options; or, when there is nothing left to do (--help, --version, a usage error), the exit code.
// Usage errors are a bad configuration to whoever looks at the code.
struct ParsedOptions {
  std::optional<Options> options;
  int exit_code = kStopped;
};
ParsedOptions parse_options(int argc, char** argv);

}  // namespace vmnat::control
