// SPDX-License-Identifier: Apache-2.0
#include "control/devices/interface_link.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <system_error>

#include "control/system/link_state.h"

namespace vmnat::control {

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

std::uint16_t mtu_of(const KernelLink& link) {
  constexpr unsigned kMost = std::numeric_limits<std::uint16_t>::max();
  return static_cast<std::uint16_t>(link.index == 0 ? kMost : std::min(link.mtu, kMost));
}

}  // namespace vmnat::control
