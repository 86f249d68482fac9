// SPDX-License-Identifier: Apache-2.0
// The `sessions` command: the session tables, read while workers go on, a bounded piece at a time; or with `watch`, what
// becomes of sessions (session_watch.h).
#pragma once

#include "control/admin/server.h"
#include "control/commands/context.h"

namespace vmnat::control {

// Errors: a filter that cannot be read, or that names a network or port which does not exist; `watch` with `count`.
Result<admin::Answer> list_sessions(const CommandContext& at, const admin::Json& arguments);

}  // namespace vmnat::control
