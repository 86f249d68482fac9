// SPDX-License-Identifier: Apache-2.0
#include "control/system/interface_setup.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <span>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <system_error>

#include "control/system/file_descriptor.h"
#include "control/system/link_state.h"

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

// Neither link-local addresses nor router solicitations: what VMs send of IPv6 does not reach the host. A kernel
// without IPv6 has no such file.
void leave_out_ipv6(const std::string& interface) {
  const std::string path = "/proc/sys/net/ipv6/conf/" + interface + "/disable_ipv6";
  const FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  constexpr std::string_view kYes = "1";
  if (file.is_open()) write_all(file.number(), std::as_bytes(std::span{kYes}));
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
