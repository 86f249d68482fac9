// SPDX-License-Identifier: Apache-2.0
#include "control/devices/tap.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <system_error>

namespace vmnat::control {
namespace {

// Since Linux 6.2: UDP's super-frames.
constexpr unsigned kUdpSegments4 = 0x20, kUdpSegments6 = 0x40;

// What we take without its being done before.
bool take_unfinished(int descriptor) {
  constexpr unsigned kTcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  return ioctl(descriptor, TUNSETOFFLOAD, kTcp | kUdpSegments4 | kUdpSegments6) == 0 ||
         ioctl(descriptor, TUNSETOFFLOAD, kTcp) == 0;
}

bool attach(int descriptor, const std::string& interface, int more_flags) {
  ifreq request{};
  std::strncpy(request.ifr_name, interface.c_str(), IFNAMSIZ - 1);
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | more_flags);
  return ioctl(descriptor, TUNSETIFF, &request) == 0 && take_unfinished(descriptor);
}

FileDescriptor open_tun() {
  return FileDescriptor(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
}

}  // namespace

Result<std::vector<FileDescriptor>> attach_to_tap(const std::string& interface, unsigned queues) {
  std::vector<FileDescriptor> attached;
  for (unsigned i = 0; i < queues; ++i) {
    FileDescriptor tun = open_tun();
    if (!tun.is_open() || !attach(tun.number(), interface, queues > 1 ? IFF_MULTI_QUEUE : 0)) {
      if (errno == EBUSY && i == 0) return {};
      return tl::unexpected(Error{
          interface, fmt::format("cannot attach to the TAP: {}{}", std::system_category().message(errno),
                                 errno == EINVAL && queues > 1
                                     ? "; one of several queues is made by `ip tuntap add ... multi_queue`"
                                     : "")});
    }
    attached.push_back(std::move(tun));
  }
  return attached;
}

Result<FileDescriptor> make_tap(const std::string& interface) {
  FileDescriptor tun = open_tun();
  if (tun.is_open() && attach(tun.number(), interface, IFF_TUN_EXCL)) return tun;
  if (errno == EBUSY)
    return tl::unexpected(
        Error{interface, "there is an interface of this name already, and vmnatd makes its own"});
  return tl::unexpected(Error{
      interface, "the interface cannot be made, by /dev/net/tun: " + std::system_category().message(errno)});
}

bool is_attached(const FileDescriptor& queue) {
  ifreq answer{};
  return ioctl(queue.number(), TUNGETIFF, &answer) == 0;
}

}  // namespace vmnat::control
