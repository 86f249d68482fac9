// SPDX-License-Identifier: Apache-2.0
#include "control/system/kernel_routes.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <system_error>

#include "control/system/netlink_socket.h"

namespace vmnat::control {
namespace {

// Routes that come and go while they are read make another reading.
constexpr int kMostReadings = 20;

int take_in_attribute(const nlattr* attribute, void* into) {
  auto& route = *static_cast<KernelRoute*>(into);
  const auto type = mnl_attr_get_type(attribute);
  if ((type != RTA_DST && type != RTA_OIF) || mnl_attr_validate(attribute, MNL_TYPE_U32) != 0)
    return MNL_CB_OK;
  if (type == RTA_DST) {
    route.to.address = net::Ipv4Addr::from_raw(mnl_attr_get_u32(attribute));
  } else {
    std::array<char, IF_NAMESIZE> name{};
    if (if_indextoname(mnl_attr_get_u32(attribute), name.data()) != nullptr) route.interface = name.data();
  }
  return MNL_CB_OK;
}

int take_in(const nlmsghdr* message, void* into) {
  if (message->nlmsg_type != RTM_NEWROUTE || mnl_nlmsg_get_payload_len(message) < sizeof(rtmsg))
    return MNL_CB_OK;
  const auto& header = *static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message));
  const bool is_route = header.rtm_table == RT_TABLE_MAIN && header.rtm_type == RTN_UNICAST;
  const bool is_own = header.rtm_table == RT_TABLE_LOCAL && header.rtm_type == RTN_LOCAL;
  if (header.rtm_family != AF_INET || (!is_route && !is_own)) return MNL_CB_OK;
  KernelRoute route{.to = {{}, header.rtm_dst_len}, .interface = {}, .is_own_address = is_own};
  mnl_attr_parse(message, sizeof header, take_in_attribute, &route);
  static_cast<std::vector<KernelRoute>*>(into)->push_back(std::move(route));
  return MNL_CB_OK;
}

// 0 or the number of the error; EINTR: the routes changed meanwhile.
int read_once(std::vector<KernelRoute>& routes) {
  const NetlinkSocket socket = open_netlink();
  if (!socket) return errno;
  NetlinkBuffer buffer;
  nlmsghdr* const request = mnl_nlmsg_put_header(buffer.bytes.data());
  request->nlmsg_type = RTM_GETROUTE;
  request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(request, sizeof(rtmsg)))->rtm_family = AF_INET;
  if (mnl_socket_sendto(socket.get(), request, request->nlmsg_len) < 0) return errno;
  for (;;) {
    const ssize_t length = mnl_socket_recvfrom(socket.get(), buffer.bytes.data(), buffer.bytes.size());
    if (length < 0) return errno;
    const int verdict =
        mnl_cb_run(buffer.bytes.data(), static_cast<std::size_t>(length), 0, 0, take_in, &routes);
    if (verdict == MNL_CB_ERROR) return errno;
    if (verdict == MNL_CB_STOP) return 0;
  }
}

}  // namespace

Result<std::vector<KernelRoute>> read_routes() {
  int error = EINTR;
  for (int reading = 0; error == EINTR && reading < kMostReadings; ++reading) {
    std::vector<KernelRoute> routes;
    error = read_once(routes);
    if (error == 0) return routes;
  }
  return tl::unexpected(
      Error{"rtnetlink", "the host's routes cannot be read: " + std::system_category().message(error)});
}

}  // namespace vmnat::control
