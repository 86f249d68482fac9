// SPDX-License-Identifier: Apache-2.0
// vmnatctl run by a test: arguments in, exit code out.
#pragma once

#include <gtest/gtest.h>
#include <sstream>
#include <string>
#include <vector>

#include "control/ctl/vmnatctl.h"
#include "tests/support/temp_dir.h"

namespace vmnat::ctl {

struct VmnatctlTest : testing::Test {
  TempDir dir;
  const std::string path = dir / "vmnat.sock";
  std::string out, err;

  // Runs `vmnatctl --socket PATH arguments...`; what it printed is in `out` and `err`.
  int run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--socket", path});
    std::ostringstream out_stream, err_stream;
    const int code = run_vmnatctl(arguments, out_stream, err_stream);
    out = out_stream.str();
    err = err_stream.str();
    return code;
  }
};

}  // namespace vmnat::ctl
