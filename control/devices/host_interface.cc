// SPDX-License-Identifier: Apache-2.0
#include "control/devices/host_interface.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <utility>

#include "control/devices/interface_link.h"
#include "control/devices/tap.h"
#include "control/devices/worker_barrier.h"

namespace vmnat::control {
namespace {

std::string where_to(const KernelRoute& route) {
  return route.interface.empty() ? "nowhere" : "by " + route.interface;
}

}  // namespace

// A default route is in nobody's way.
RouteClash find_clash(const net::Ipv4Prefix& network, const std::vector<KernelRoute>& routes) {
  RouteClash clash;
  const std::string own = net::to_string(net::Ipv4Prefix{network.first(), network.length});
  for (const KernelRoute& route : routes) {
    if (route.to.length == 0 || !network.overlaps(route.to)) continue;
    const std::string to = net::to_string(net::Ipv4Prefix{route.to.first(), route.to.length});
    if (route.is_own_address && clash.error.empty() && network.contains(route.to.address))
      clash.error = fmt::format("{} is in use: this host has {} on {}", own, net::to_string(route.to.address),
                                route.interface);
    else if (route.to.length >= network.length && clash.error.empty())
      clash.error = fmt::format("{} is in use: this host has a route to {} {}", own, to, where_to(route));
    else if (route.to.length < network.length && !route.is_own_address)
      clash.note = fmt::format(
          "this host has a route to {} {}, which {} is a part of: these addresses are "
          "the network's from now on",
          to, where_to(route), own);
  }
  return clash;
}

Result<std::unique_ptr<HostInterface>> HostInterface::open(Settings settings) {
  if (!prepare_worker_barrier())
    return tl::unexpected(
        Error{settings.name, "kernel interfaces need the membarrier system call (Linux 4.14 or newer)"});
  const auto routes = read_routes();
  if (!routes) return tl::unexpected(routes.error());
  const RouteClash clash = find_clash(settings.address, *routes);
  if (!clash.error.empty()) return tl::unexpected(Error{settings.name, clash.error});
  if (!clash.note.empty()) spdlog::warn("{}: {}", settings.name, clash.note);
  std::unique_ptr<HostInterface> opened(new HostInterface(std::move(settings)));
  if (auto made = opened->make(); !made)
    return tl::unexpected(Error{opened->settings_.name, made.error().what});
  return opened;
}

HostInterface::~HostInterface() {
  close();
}

Result<void> HostInterface::make() {
  auto tap = make_tap(settings_.interface);
  if (!tap) return tl::unexpected(tap.error());
  const auto& [name, interface, address, mac, mtu] = settings_;
  if (auto set = set_up_interface(interface, {.mac = mac, .address = address, .mtu = mtu}); !set)
    return tl::unexpected(set.error());
  tap_ = std::move(*tap);
  port_.tap(0).open(tap_.number());
  port_.open();
  return {};
}

void HostInterface::close() {
  port_.close();
  wait_for_workers(port_);
  port_.tap(0).close();
  tap_ = {};
}

void HostInterface::follow() {
  if (tap_.is_open() && is_attached(tap_)) return;
  close();
  if (const auto made = make(); !made) {
    if (!std::exchange(has_failed_, true))
      spdlog::error("{}: it has gone, and cannot be made again: {}", settings_.name, made.error().what);
    return;
  }
  has_failed_ = false;
  spdlog::warn("{}: interface {} had gone, and was made again", settings_.name, settings_.interface);
}

dataplane::Offloads HostInterface::offloads() const {
  return offloads_of_kernel();
}

}  // namespace vmnat::control
