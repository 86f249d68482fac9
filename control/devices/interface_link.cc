// SPDX-License-Identifier: Apache-2.0
#include "control/devices/interface_link.h"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <limits>
#include <sys/utsname.h>
#include <system_error>
#include <utility>

#include "control/system/link_state.h"

namespace vmnat::control {
namespace {

// UDP's are in virtio's header since Linux 6.2.
bool takes_udp_segments() {
  utsname system{};
  unsigned major = 0, minor = 0;
  return uname(&system) == 0 && std::sscanf(system.release, "%u.%u", &major, &minor) == 2 &&
         std::pair(major, minor) >= std::pair(6u, 2u);
}

}  // namespace

Result<const KernelLink*> find_link(const std::string& name, const std::string& interface,
                                    const KernelLinks& links) {
  if (const KernelLink* const link = links.find(interface)) return link;
  return tl::unexpected(
      Error{name, fmt::format("there is no kernel interface {}; `ip link` lists them, and a "
                              "NIC bound to a DPDK driver is named by its PCI address",
                              interface)});
}

Result<bool> bring_up(const std::string& name, const KernelLink& link) {
  if (link.is_up) return false;
  const int error = set_link_up(link.name, true);
  if (error == 0) return true;
  return tl::unexpected(Error{name, fmt::format("cannot bring interface {} up: {}", link.name,
                                                std::system_category().message(error))});
}

dataplane::Offloads offloads_of_kernel() {
  static const bool kTakesUdpSegments = takes_udp_segments();
  return {.checksums = true, .tcp4_segments = true, .tcp6_segments = true, .udp_segments = kTakesUdpSegments};
}

std::uint16_t mtu_of(const KernelLink& link) {
  constexpr unsigned kMost = std::numeric_limits<std::uint16_t>::max();
  return static_cast<std::uint16_t>(link.index == 0 ? kMost : std::min(link.mtu, kMost));
}

}  // namespace vmnat::control
