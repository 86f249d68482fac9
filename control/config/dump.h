// SPDX-License-Identifier: Apache-2.0
// A Config as YAML text: every key with the value in effect. Reading it back gives the same Config.
#pragma once

#include <string>

#include "control/config/model.h"
#include "control/config/origins.h"

namespace vmnat::config {

std::string dump_config(const Config& config);
// The same with a comment behind what does not come from the file: "# default", "# script".
std::string dump_config(const Config& config, const Origins& origins);

}  // namespace vmnat::config
