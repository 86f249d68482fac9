// SPDX-License-Identifier: Apache-2.0
// `sessions` with `watch`: what becomes of sessions, as it happens.
#pragma once

#include "control/admin/server.h"
#include "control/commands/session_rows.h"
#include "control/observe/listeners.h"

namespace vmnat::control {

// A stream of sessions as `sessions` shows them, each with `event` ("new", "update": its state has changed, "destroy") and
// `time`; the last element is an object: `events`, `missed`. It ends after `rows`'s limit of events. Errors: too many
// listen.
Result<admin::Answer> watch_sessions(Listeners& listeners, SessionRows rows, const Workers& workers);

}  // namespace vmnat::control
