// SPDX-License-Identifier: Apache-2.0
#include "control/system/interface_link.h"

#include <cstring>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace vmnat::control {

InterfaceLink::InterfaceLink(const std::string& interface)
    : socket_(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)), interface_(interface) {}

// IFF_RUNNING: netdevice(7), resources allocated; of Linux, the operational state of RFC 2863 is up.
bool InterfaceLink::is_up() const {
  ifreq query{};
  std::strncpy(query.ifr_name, interface_.c_str(), IFNAMSIZ - 1);
  return ioctl(socket_.number(), SIOCGIFFLAGS, &query) == 0 && (query.ifr_flags & IFF_RUNNING) != 0;
}

}  // namespace vmnat::control
