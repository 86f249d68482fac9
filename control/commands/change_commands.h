// SPDX-License-Identifier: Apache-2.0
// The admin commands that change the configuration in effect: `reload`, and what scripts edit; see
// admin/README.md.
//
// What is refused, is refused at once. Else the answer comes when every worker forwards by the change.
#pragma once

#include <string>

#include "control/admin/server.h"
#include "control/commands/context.h"

namespace vmnat::control {

Result<admin::Answer> reload(const CommandContext& at, const admin::Json& arguments);
Result<admin::Answer> edit_configuration(const CommandContext& at, const std::string& command,
                                         const admin::Json& arguments);

}  // namespace vmnat::control
