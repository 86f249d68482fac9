// SPDX-License-Identifier: Apache-2.0
#include "dhcp/address_pool.h"

#include <gtest/gtest.h>
#include <set>

#include "tests/dhcp/test_client.h"

namespace vmnat::dhcp::test {
namespace {

const auto kNetwork = net::Ipv4Prefix{net::Ipv4Addr::of(192, 168, 122, 1), 24};

// All addresses that the pool gives, taken one by one from number `start`.
std::vector<std::string> drained(AddressPool& pool, std::uint64_t start) {
  std::vector<std::string> addresses;
  while (const auto address = pool.find_free(start)) {
    addresses.push_back(net::to_string(*address));
    pool.take(*address);
  }
  return addresses;
}

TEST(AddressPool, GivesEveryAddressOfItsRangesOnceAndNoOther) {
  const AddressRange ranges[] = {{ip("192.168.122.10"), ip("192.168.122.11")},
                                 {ip("192.168.122.2"), ip("192.168.122.3")}};
  AddressPool pool{ranges, kNetwork};
  EXPECT_EQ(pool.size(), 4u);
  EXPECT_EQ(drained(pool, 1),
            (std::vector<std::string>{"192.168.122.3", "192.168.122.10", "192.168.122.11", "192.168.122.2"}));
  EXPECT_FALSE(pool.contains(ip("192.168.122.4")));
}

TEST(AddressPool, NeverGivesTheGatewayTheNetworkOrTheBroadcastAddress) {
  const AddressRange everything[] = {{ip("0.0.0.0"), ip("255.255.255.255")}};
  AddressPool pool{everything, kNetwork};
  const auto addresses = drained(pool, 12345);
  EXPECT_EQ(addresses.size(), 253u);
  EXPECT_EQ((std::set<std::string>{addresses.begin(), addresses.end()}).size(), 253u);
  for (const char* never : {"192.168.122.0", "192.168.122.1", "192.168.122.255"})
    EXPECT_EQ(std::ranges::count(addresses, never), 0) << never;
}

TEST(AddressPool, OverlappingRangesCountOnce) {
  const AddressRange ranges[] = {
      {ip("192.168.122.10"), ip("192.168.122.20")},
      {ip("192.168.122.15"), ip("192.168.122.18")},
      {ip("192.168.122.20"), ip("192.168.122.22")},
      {ip("192.168.122.30"), ip("192.168.122.29")}};  // the wrong way around: empty
  AddressPool pool{ranges, kNetwork};
  EXPECT_EQ(pool.size(), 13u);
  EXPECT_EQ(drained(pool, 0).size(), 13u);
}

TEST(AddressPool, SmallNetworksHaveNoEdges) {
  const AddressRange everything[] = {{ip("0.0.0.0"), ip("255.255.255.255")}};
  AddressPool pair{everything, {ip("10.0.0.0"), 31}};
  EXPECT_EQ(drained(pair, 0), std::vector<std::string>{"10.0.0.1"});
  AddressPool single{everything, {ip("10.0.0.0"), 32}};
  EXPECT_TRUE(drained(single, 0).empty());
  AddressPool none{{}, kNetwork};
  EXPECT_FALSE(none.find_free(7));
  EXPECT_FALSE(none.is_free(ip("192.168.122.2")));
}

TEST(AddressPool, FreshAddressesGoBeforeRememberedOnes) {
  const AddressRange ranges[] = {{ip("192.168.122.2"), ip("192.168.122.4")}};
  AddressPool pool{ranges, kNetwork};
  pool.remember(ip("192.168.122.2"));
  pool.remember(ip("192.168.122.3"));
  EXPECT_EQ(drained(pool, 0), (std::vector<std::string>{"192.168.122.4", "192.168.122.2", "192.168.122.3"}));
}

TEST(AddressPool, BlockedAndOutsideAddressesStayOut) {
  const AddressRange ranges[] = {{ip("192.168.122.2"), ip("192.168.122.3")}};
  AddressPool pool{ranges, kNetwork};
  pool.block(ip("192.168.122.2"));
  pool.take(ip("10.0.0.1"));
  pool.give_back(ip("10.0.0.1"));
  pool.give_back(ip("192.168.122.2"));
  EXPECT_EQ(drained(pool, 0), std::vector<std::string>{"192.168.122.3"});
}

TEST(AddressPool, ASearchGoesAroundFromAnyStart) {
  const AddressRange ranges[] = {{ip("192.168.122.2"), ip("192.168.122.200")}};  // several words of bits
  for (std::uint64_t start = 0; start < 400; ++start) {
    AddressPool pool{ranges, kNetwork};
    const auto first = pool.find_free(start);
    EXPECT_EQ(first->host(), ip("192.168.122.2").host() + start % 199);
    EXPECT_EQ(drained(pool, start).size(), 199u) << start;
  }
}

}  // namespace
}  // namespace vmnat::dhcp::test
