// SPDX-License-Identifier: Apache-2.0
// A Config as YAML text: every key with the value in effect. Reading it back gives the same Config.
#pragma once

#include <string>

#include "control/config/model.h"

namespace vmnat::config {

std::string dump_config(const Config& config);

}  // namespace vmnat::config
