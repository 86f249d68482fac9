// SPDX-License-Identifier: Apache-2.0
// A socket of rtnetlink, and room for what comes by it.
#pragma once

#include <array>
#include <cstddef>
#include <libmnl/libmnl.h>
#include <memory>

namespace vmnat::control {

struct CloseNetlink {
  void operator()(mnl_socket* socket) const { mnl_socket_close(socket); }
};
using NetlinkSocket = std::unique_ptr<mnl_socket, CloseNetlink>;

// Bound; subscribed to `groups`. `flags` as SOCK_NONBLOCK. Null: errno says why.
NetlinkSocket open_netlink(int flags = 0, unsigned groups = 0);

// The kernel makes the parts of a dump as large as the buffers that they are read into, up to 32 KiB.
struct NetlinkBuffer {
  alignas(nlmsghdr) std::array<std::byte, 32 * 1024> bytes;
};

}  // namespace vmnat::control
