// SPDX-License-Identifier: Apache-2.0
#include "control/system/interface_setup.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <system_error>

#include "control/system/file_descriptor.h"
#include "control/system/link_state.h"
#include "control/system/netlink_socket.h"

namespace vmnat::control {
namespace {

// One request about the interface after another; the first that fails is told.
class Requests {
 public:
  explicit Requests(const std::string& interface)
      : interface_(interface), socket_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {}

  template <typename Fill>
  void make(const char* what, unsigned long number, Fill fill) {
    if (!error_.empty()) return;
    ifreq request{};
    std::strncpy(request.ifr_name, interface_.c_str(), IFNAMSIZ - 1);
    fill(request);
    if (!socket_.is_open() || ioctl(socket_.number(), number, &request) != 0) fail(what, errno);
  }
  void fail(const char* what, int error) {
    if (error != 0 && error_.empty())
      error_ = fmt::format("its {} cannot be set: {}", what, std::system_category().message(error));
  }
  [[nodiscard]] const std::string& error() const { return error_; }

 private:
  const std::string& interface_;
  FileDescriptor socket_;
  std::string error_;
};

void put(sockaddr& into, net::Ipv4Addr address) {
  sockaddr_in text{};
  text.sin_family = AF_INET;
  text.sin_addr.s_addr = address.raw();
  std::memcpy(&into, &text, sizeof into);
}

// No link-local address of IPv6, and so nothing that the host says of itself when it comes up: what VMs send of IPv6
// does not reach the host. A kernel without IPv6 refuses, and has none.
void leave_out_ipv6(const std::string& interface) {
  const NetlinkSocket socket = open_netlink();
  if (!socket) return;
  alignas(nlmsghdr) std::array<std::byte, 1024> buffer{};
  nlmsghdr* const request = mnl_nlmsg_put_header(buffer.data());
  request->nlmsg_type = RTM_NEWLINK;
  request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(request, sizeof(ifinfomsg)))->ifi_index =
      static_cast<int>(if_nametoindex(interface.c_str()));
  nlattr* const families = mnl_attr_nest_start(request, IFLA_AF_SPEC);
  nlattr* const ipv6 = mnl_attr_nest_start(request, AF_INET6);
  mnl_attr_put_u8(request, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
  mnl_attr_nest_end(request, ipv6);
  mnl_attr_nest_end(request, families);
  if (mnl_socket_sendto(socket.get(), request, request->nlmsg_len) >= 0)
    mnl_socket_recvfrom(socket.get(), buffer.data(), buffer.size());
}

}  // namespace

Result<void> set_up_interface(const std::string& interface, const InterfaceSettings& settings) {
  leave_out_ipv6(interface);
  Requests requests(interface);
  requests.make("MAC", SIOCSIFHWADDR, [&](ifreq& request) {
    request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    std::memcpy(request.ifr_hwaddr.sa_data, settings.mac.bytes.data(), settings.mac.bytes.size());
  });
  requests.make("MTU", SIOCSIFMTU, [&](ifreq& request) { request.ifr_mtu = settings.mtu; });
  requests.make("address", SIOCSIFADDR,
                [&](ifreq& request) { put(request.ifr_addr, settings.address.address); });
  requests.make("netmask", SIOCSIFNETMASK,
                [&](ifreq& request) { put(request.ifr_netmask, settings.address.mask()); });
  requests.make("broadcast address", SIOCSIFBRDADDR,
                [&](ifreq& request) { put(request.ifr_broadaddr, settings.address.broadcast()); });
  if (requests.error().empty()) requests.fail("state (up)", set_link_up(interface, true));
  if (!requests.error().empty()) return tl::unexpected(Error{interface, requests.error()});
  return {};
}

}  // namespace vmnat::control
