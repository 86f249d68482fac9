// SPDX-License-Identifier: Apache-2.0
#include "net/address.h"

#include <gtest/gtest.h>
#include <vector>

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

// RFC 6890, table by table: the first and the last address of each range, and their neighbours.
TEST(Address, IsOfOneKind) {
  using enum AddressKind;
  const struct {
    const char* address;
    AddressKind kind;
  } table[] = {{"0.0.0.0", ThisNetwork},
               {"0.255.255.255", ThisNetwork},
               {"1.0.0.0", Unicast},
               {"10.0.0.1", Unicast},
               {"100.64.0.1", Unicast},
               {"126.255.255.255", Unicast},
               {"127.0.0.0", Loopback},
               {"127.255.255.255", Loopback},
               {"128.0.0.0", Unicast},
               {"169.253.255.255", Unicast},
               {"169.254.0.0", LinkLocal},
               {"169.254.169.254", LinkLocal},
               {"169.254.255.255", LinkLocal},
               {"169.255.0.0", Unicast},
               {"172.16.0.1", Unicast},
               {"191.255.255.255", Unicast},
               {"192.0.0.0", Unicast},  // DS-Lite's eight
               {"192.0.0.7", Unicast},
               {"192.0.0.8", ProtocolAssignment},
               {"192.0.0.9", Unicast},
               {"192.0.0.10", Unicast},
               {"192.0.0.11", ProtocolAssignment},
               {"192.0.0.170", ProtocolAssignment},
               {"192.0.0.255", ProtocolAssignment},
               {"192.0.1.0", Unicast},
               {"192.0.2.1", Unicast},
               {"192.88.99.1", Unicast},
               {"192.168.122.1", Unicast},
               {"198.18.0.1", Unicast},
               {"203.0.113.2", Unicast},
               {"223.255.255.255", Unicast},
               {"224.0.0.0", Multicast},
               {"239.255.255.255", Multicast},
               {"240.0.0.0", Reserved},
               {"255.255.255.254", Reserved},
               {"255.255.255.255", LimitedBroadcast}};
  for (const auto& row : table) {
    const Ipv4Addr address = parse_ipv4(row.address).value();
    EXPECT_EQ(address.kind(), row.kind) << row.address;
    EXPECT_EQ(address.is_forwarded(), row.kind == Unicast) << row.address;
    EXPECT_EQ(address.is_hosts(), row.kind == Unicast || row.kind == LinkLocal) << row.address;
  }
}

struct Edges {
  const char* prefix;
  const char* first_host;
  const char* last_host;
  std::vector<const char*> edges;
};

TEST(Address, ANetworkOfOneOrTwoAddressesHasHostsAlone) {  // RFC 3021
  const Edges table[] = {{"203.0.113.2/24", "203.0.113.1", "203.0.113.254", {"203.0.113.0", "203.0.113.255"}},
                         {"203.0.113.2/30", "203.0.113.1", "203.0.113.2", {"203.0.113.0", "203.0.113.3"}},
                         {"203.0.113.2/31", "203.0.113.2", "203.0.113.3", {}},
                         {"203.0.113.3/31", "203.0.113.2", "203.0.113.3", {}},
                         {"203.0.113.3/32", "203.0.113.3", "203.0.113.3", {}}};
  for (const Edges& row : table) {
    const auto prefix = parse_ipv4_prefix(row.prefix).value();
    EXPECT_EQ(to_string(prefix.first_host()), row.first_host) << row.prefix;
    EXPECT_EQ(to_string(prefix.last_host()), row.last_host) << row.prefix;
    EXPECT_EQ(prefix.is_edge(prefix.first()), !row.edges.empty()) << row.prefix;
    EXPECT_EQ(prefix.is_edge(prefix.broadcast()), !row.edges.empty()) << row.prefix;
    for (const char* edge : row.edges) EXPECT_FALSE(prefix.is_host(parse_ipv4(edge).value())) << row.prefix;
    EXPECT_TRUE(prefix.is_host(prefix.first_host()) && prefix.is_host(prefix.last_host())) << row.prefix;
    EXPECT_FALSE(prefix.is_host(parse_ipv4("203.0.114.1").value())) << row.prefix;
  }
}

}  // namespace
}  // namespace vmnat::net
