// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace vmnat::control {

// Brings a network interface up, or down (netdevice(7)). 0, or the number of the error.
int set_link_up(const std::string& interface, bool is_up);

}  // namespace vmnat::control
