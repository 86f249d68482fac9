// SPDX-License-Identifier: Apache-2.0
// What vmnatd answers on the admin socket; admin/README.md has the shapes.
//
// Everything is read from counters and snapshots: no command makes a worker wait.
#pragma once

#include "control/admin/server.h"
#include "control/commands/context.h"

namespace vmnat::control {

void register_commands(admin::Server& server, const CommandContext& context);

}  // namespace vmnat::control
