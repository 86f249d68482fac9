// SPDX-License-Identifier: Apache-2.0
// Which of the host's routes are in the way of a network. The interface itself: tests/e2e/host.py.
#include "control/devices/host_interface.h"

#include <gtest/gtest.h>

namespace vmnat::control {
namespace {

KernelRoute route(const char* to, const char* interface = "eth0") {
  return {.to = net::parse_ipv4_prefix(to).value(), .interface = interface};
}
KernelRoute own(const char* address, const char* interface = "eth0") {
  return {.to = net::parse_ipv4_prefix(address).value(), .interface = interface, .is_own_address = true};
}
RouteClash clash(const std::vector<KernelRoute>& routes) {
  return find_clash(net::parse_ipv4_prefix("192.168.122.1/24").value(), routes);
}

TEST(RouteClash, RoutesToOtherNetworksAndTheDefaultRouteAreInNobodysWay) {
  const auto found = clash({route("0.0.0.0/0"), route("192.168.121.0/24"), route("192.168.123.0/24"),
                            route("10.0.0.0/8"), own("127.0.0.0/8", "lo"), own("192.168.123.1/32")});
  EXPECT_EQ(found.error, "");
  EXPECT_EQ(found.note, "");
}

TEST(RouteClash, ARouteToTheSameNetworkOrToAPartOfItIsInItsWay) {
  EXPECT_EQ(clash({route("192.168.122.0/24", "virbr0")}).error,
            "192.168.122.0/24 is in use: this host has a route to 192.168.122.0/24 by virbr0");
  EXPECT_EQ(clash({route("192.168.122.128/25", "")}).error,
            "192.168.122.0/24 is in use: this host has a route to 192.168.122.128/25 nowhere");
}

TEST(RouteClash, AnAddressOfTheHostWithinTheNetworkIsInItsWay) {
  EXPECT_EQ(clash({own("192.168.122.77/32", "lo")}).error,
            "192.168.122.0/24 is in use: this host has 192.168.122.77 on lo");
}

TEST(RouteClash, AWiderRouteLosesTheNetworksAddressesWhichIsNoted) {
  const auto found = clash({route("192.168.0.0/16", "tun0")});
  EXPECT_EQ(found.error, "");
  EXPECT_EQ(found.note,
            "this host has a route to 192.168.0.0/16 by tun0, which 192.168.122.0/24 is a part of: these "
            "addresses are the network's from now on");
}

}  // namespace
}  // namespace vmnat::control
