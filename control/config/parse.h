// SPDX-License-Identifier: Apache-2.0
// Reads a document into the model, by the rows of keys_*.h; internal to control/config.
#pragma once

#include "control/config/section.h"

namespace vmnat::config {

void parse_config(const Node& document, Config& into, Findings& findings);

}  // namespace vmnat::config
