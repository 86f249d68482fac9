// SPDX-License-Identifier: Apache-2.0
// `rules`: those of networks and ports with what they have decided.
#pragma once

#include "control/admin/server.h"
#include "control/commands/context.h"

namespace vmnat::control {

Result<admin::Answer> list_rules(const CommandContext& at, const admin::Json& arguments);

}  // namespace vmnat::control
