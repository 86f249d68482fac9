// SPDX-License-Identifier: Apache-2.0
// The `sessions` command: the session tables, read while workers go on, a bounded piece at a time.
#pragma once

#include <optional>

#include "control/admin/server.h"
#include "control/admin/session_filter.h"
#include "control/gateway/gateway.h"

namespace vmnat::control {

// Errors: a filter that cannot be read, or that names a network or port which does not exist.
Result<admin::Answer> list_sessions(const config::Config& config, const std::vector<PortPlan>& ports,
                                    const Workers& workers, const admin::Json& arguments);

// A name that does not exist is a mistake, not an empty list.
std::optional<Error> unknown_name(const config::Config& config, const admin::SessionFilter& filter);

}  // namespace vmnat::control
