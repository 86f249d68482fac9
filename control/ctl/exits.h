// SPDX-License-Identifier: Apache-2.0
// How a call that failed ends vmnatctl.
#pragma once

#include <ostream>

#include "control/admin/client.h"
#include "control/ctl/command_line.h"

namespace vmnat::ctl {

inline Exit fail(const admin::CallError& error, std::ostream& err) {
  err << "vmnatctl: " << error.what << '\n';
  return error.kind == admin::CallError::Kind::CannotConnect ? Exit::CannotConnect : Exit::DaemonError;
}

}  // namespace vmnat::ctl
