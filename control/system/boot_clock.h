// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/time.h"

namespace vmnat::control {

BootTime boot_time();

}  // namespace vmnat::control
