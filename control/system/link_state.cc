// SPDX-License-Identifier: Apache-2.0
#include "control/system/link_state.h"

#include <cerrno>
#include <cstring>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "control/system/file_descriptor.h"

namespace vmnat::control {

int set_link_up(const std::string& interface, bool is_up) {
  const FileDescriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq query{};
  std::strncpy(query.ifr_name, interface.c_str(), IFNAMSIZ - 1);
  if (!socket.is_open() || ioctl(socket.number(), SIOCGIFFLAGS, &query) != 0) return errno;
  query.ifr_flags = static_cast<short>(is_up ? query.ifr_flags | IFF_UP : query.ifr_flags & ~IFF_UP);
  return ioctl(socket.number(), SIOCSIFFLAGS, &query) == 0 ? 0 : errno;
}

}  // namespace vmnat::control
