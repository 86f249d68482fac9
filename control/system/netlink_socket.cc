// SPDX-License-Identifier: Apache-2.0
#include "control/system/netlink_socket.h"

#include <cerrno>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

namespace vmnat::control {

NetlinkSocket open_netlink(int flags, unsigned groups) {
  NetlinkSocket socket{mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | flags)};
  if (socket && mnl_socket_bind(socket.get(), groups, MNL_SOCKET_AUTOPID) < 0) {
    const int error = errno;
    socket.reset();
    errno = error;
  }
  return socket;
}

}  // namespace vmnat::control
