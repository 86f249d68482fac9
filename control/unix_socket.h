// SPDX-License-Identifier: Apache-2.0
// UNIX socket files: who owns one, and clearing away what a dead process left.
#pragma once

#include <string>

#include "control/result.h"

namespace vmnat::control {

// Removes the socket at `path` if nobody listens on it. Fails when somebody does, or when something other
// than a socket stands there.
Result<void> remove_stale_socket(const std::string& path);

}  // namespace vmnat::control
