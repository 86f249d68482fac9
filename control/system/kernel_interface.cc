// SPDX-License-Identifier: Apache-2.0
#include "control/system/kernel_interface.h"

#include <cerrno>
#include <cstring>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace vmnat::control {
namespace {

ifreq query_about(const std::string& name) {
  ifreq query{};
  std::strncpy(query.ifr_name, name.c_str(), IFNAMSIZ - 1);
  return query;
}

}  // namespace

KernelInterface::KernelInterface(const std::string& name)
    : socket_(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)), name_(name) {}

// IFF_RUNNING: netdevice(7), resources allocated; of Linux, the operational state of RFC 2863 is up.
bool KernelInterface::has_link() const {
  ifreq query = query_about(name_);
  return ioctl(socket_.number(), SIOCGIFFLAGS, &query) == 0 && (query.ifr_flags & IFF_RUNNING) != 0;
}

std::optional<int> KernelInterface::mtu() const {
  ifreq query = query_about(name_);
  if (ioctl(socket_.number(), SIOCGIFMTU, &query) != 0) return std::nullopt;
  return query.ifr_mtu;
}

int KernelInterface::bring_up() const {
  ifreq query = query_about(name_);
  if (ioctl(socket_.number(), SIOCGIFFLAGS, &query) != 0) return errno;
  if ((query.ifr_flags & IFF_UP) != 0) return 0;
  query.ifr_flags = static_cast<short>(query.ifr_flags | IFF_UP);
  return ioctl(socket_.number(), SIOCSIFFLAGS, &query) == 0 ? 0 : errno;
}

int KernelInterface::set_mtu(int mtu) const {
  ifreq query = query_about(name_);
  query.ifr_mtu = mtu;
  return ioctl(socket_.number(), SIOCSIFMTU, &query) == 0 ? 0 : errno;
}

}  // namespace vmnat::control
