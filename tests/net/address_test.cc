// SPDX-License-Identifier: Apache-2.0
#include "dataplane/net/address.h"

#include <gtest/gtest.h>

namespace vmnat::net {
namespace {

TEST(Address, TextFormsRoundTrip) {
  for (const char* text : {"0.0.0.0", "192.168.122.1", "255.255.255.255"})
    EXPECT_EQ(to_string(parse_ipv4(text).value()), text);
  for (const char* text : {"10.0.0.0/8", "192.168.5.1/24", "1.2.3.4/32", "0.0.0.0/0"})
    EXPECT_EQ(to_string(parse_ipv4_prefix(text).value()), text);
  EXPECT_EQ(to_string(parse_mac("52:54:00:AA:bb:01").value()), "52:54:00:aa:bb:01");
  EXPECT_EQ(to_string(Endpoint{Ipv4Addr::of(1, 2, 3, 4), L4Port::from_host(8080)}), "1.2.3.4:8080");
}

TEST(Address, NothingButTheCanonicalFormIsAccepted) {
  for (const char* text : {"", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4 ", " 1.2.3.4",
                           "1..3.4", "a.b.c.d", "1.2.3.-4", "+1.2.3.4", "1.2.3.99999999999"})
    EXPECT_FALSE(parse_ipv4(text)) << text;
  for (const char* text : {"1.2.3.4", "1.2.3.4/", "1.2.3.4/33", "1.2.3.4/08", "1.2.3.4/24/1"})
    EXPECT_FALSE(parse_ipv4_prefix(text)) << text;
  for (const char* text :
       {"", "52:54:00:aa:bb", "52-54-00-aa-bb-01", "52:54:00:aa:bb:0g", "52:54:00:aa:bb:011"})
    EXPECT_FALSE(parse_mac(text)) << text;
}

TEST(Address, PrefixesContainAndOverlap) {
  const auto lan = parse_ipv4_prefix("192.168.122.1/24").value();
  EXPECT_EQ(to_string(lan.first()), "192.168.122.0");
  EXPECT_EQ(to_string(lan.mask()), "255.255.255.0");
  EXPECT_TRUE(lan.contains(Ipv4Addr::of(192, 168, 122, 254)));
  EXPECT_FALSE(lan.contains(Ipv4Addr::of(192, 168, 123, 1)));
  EXPECT_TRUE(lan.overlaps(parse_ipv4_prefix("192.168.0.0/16").value()));
  EXPECT_FALSE(lan.overlaps(parse_ipv4_prefix("192.168.5.0/24").value()));
  EXPECT_TRUE(parse_ipv4_prefix("0.0.0.0/0").value().contains(Ipv4Addr::of(8, 8, 8, 8)));
}

}  // namespace
}  // namespace vmnat::net
