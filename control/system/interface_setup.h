// SPDX-License-Identifier: Apache-2.0
// Settings of a network interface of our own (netdevice(7)).
#pragma once

#include <cstdint>
#include <string>

#include "control/result.h"
#include "net/address.h"

namespace vmnat::control {

struct InterfaceSettings {
  net::MacAddr mac;
  net::Ipv4Prefix address;
  std::uint16_t mtu = 1500;
};

// Sets them, and brings the interface up with IPv4 alone. Before it is up it has no route.
Result<void> set_up_interface(const std::string& interface, const InterfaceSettings& settings);

}  // namespace vmnat::control
