// SPDX-License-Identifier: Apache-2.0
// What dnsmasq is told. What it makes of it: tests/e2e/dns.py.
#include "control/dns/dns_text.h"

#include <gtest/gtest.h>

#include "tests/control/plan/configured.h"

namespace vmnat::control {
namespace {

config::Network network(const std::string& keys) {
  return configured("  - {name: red, address: 192.168.122.1/24, host: {interface: vmnat0}, " + keys + "}\n")
      .networks[0];
}
bool has_line(const std::string& text, const std::string& line) {
  return text.find('\n' + line + '\n') != std::string::npos;
}
std::string configuration(const std::string& keys) {
  return dnsmasq_configuration(network(keys), {.hosts_directory = "/run/dns/red/hosts"});
}
dhcp::Lease lease(std::uint8_t last, const std::string& hostname,
                  dhcp::LeaseState state = dhcp::LeaseState::Bound) {
  return {.address = net::Ipv4Addr::of(192, 168, 122, last), .hostname = hostname, .state = state};
}

TEST(DnsText, IsAnsweredOnTheHostsInterfaceAloneAndForwardedToTheHostsResolvers) {
  const std::string text = configuration("dhcp: {}");
  for (const char* line :
       {"interface=vmnat0", "except-interface=lo", "bind-dynamic", "no-hosts", "keep-in-foreground",
        "hostsdir=/run/dns/red/hosts", "resolv-file=/etc/resolv.conf"})
    EXPECT_TRUE(has_line(text, line)) << line << " in\n" << text;
  EXPECT_FALSE(has_line(text, "no-resolv"));
  EXPECT_EQ(text.find("dhcp"), std::string::npos) << "DHCP is vmnatd's";
}

TEST(DnsText, ForwardersTakeThePlaceOfTheHostsResolversAndDomainsHaveTheirOwn) {
  const std::string text = configuration(
      "dns: {forwarders: [9.9.9.9, 127.0.0.1:5353], domain_forwarders: {corp.example: [10.0.0.53, "
      "10.0.0.54]}}");
  for (const char* line : {"no-resolv", "server=9.9.9.9#53", "server=127.0.0.1#5353",
                           "server=/corp.example/10.0.0.53#53", "server=/corp.example/10.0.0.54#53"})
    EXPECT_TRUE(has_line(text, line)) << line << " in\n" << text;
  EXPECT_EQ(text.find("resolv-file"), std::string::npos);
}

TEST(DnsText, TheDomainIsLocalUnlessSomebodyElseKnowsItsNames) {
  EXPECT_TRUE(has_line(configuration("dhcp: {domain: lab.example}"), "local=/lab.example/"));
  const std::string text =
      configuration("dhcp: {domain: lab.example}, dns: {domain_forwarders: {lab.example: [10.0.0.53]}}");
  EXPECT_EQ(text.find("local="), std::string::npos);
  EXPECT_EQ(configuration("dhcp: {}").find("local="), std::string::npos);
}

TEST(DnsText, NamesOfTheNetworksAddressesAreLocalUnlessSomebodyElseKnowsThem) {
  EXPECT_TRUE(has_line(configuration("dhcp: {}"), "rev-server=192.168.122.0/24"));
  const std::string text = configuration("dns: {domain_forwarders: {122.168.192.In-Addr.Arpa: [10.0.0.53]}}");
  EXPECT_EQ(text.find("rev-server"), std::string::npos);
}

TEST(DnsText, RecordsAreWrittenWithTheirDomain) {
  const std::string text = configuration(
      "dhcp: {domain: lab.example}, dns: {txt: {lab.example: \"v=spf1 -all, or so\"}, srv: [{service: ldap, "
      "target: "
      "web1.lab.example, port: 389}, {service: sip, protocol: udp, domain: other.example, target: "
      "pbx.other.example, port: 5060, priority: 10, weight: 20}]}");
  for (const char* line : {"txt-record=lab.example,\"v=spf1 -all, or so\"",
                           "srv-host=_ldap._tcp.lab.example,web1.lab.example,389,0,0",
                           "srv-host=_sip._udp.other.example,pbx.other.example,5060,10,20"})
    EXPECT_TRUE(has_line(text, line)) << line << " in\n" << text;
}

TEST(DnsText, NamesOfLeasesAreKnownWithAndWithoutTheDomain) {
  const auto with = network("dhcp: {domain: lab.example}"), without = network("dhcp: {}");
  const dhcp::Lease leases[] = {lease(10, "web1"), lease(11, "Web2.Lab.Example"), lease(12, "")};
  EXPECT_EQ(dns_hosts(with, leases),
            "192.168.122.10 web1.lab.example web1\n192.168.122.11 web2.lab.example web2\n");
  EXPECT_EQ(dns_hosts(without, leases), "192.168.122.10 web1\n");
}

TEST(DnsText, NoGuestAnswersForANameOfAnotherDomain) {
  const dhcp::Lease leases[] = {lease(10, "www.corp.example"), lease(11, "a.b.lab.example")};
  EXPECT_EQ(dns_hosts(network("dhcp: {domain: lab.example}"), leases), "");
}

TEST(DnsText, LeasesThatHaveEndedAndNamesThatAreNobodysAreLeftOut) {
  const dhcp::Lease leases[] = {lease(10, "gone", dhcp::LeaseState::Expired),
                                lease(11, "back", dhcp::LeaseState::Released),
                                lease(12, "wpad"),
                                lease(13, "localhost"),
                                lease(14, "LOCALHOST"),
                                lease(15, "kept", dhcp::LeaseState::Reserved)};
  EXPECT_EQ(dns_hosts(network("dhcp: {}"), leases), "192.168.122.15 kept\n");
}

TEST(DnsText, OfSeveralWhoClaimANameTheFileComesFirstThenAReservationThenTheLowestAddress) {
  const auto config = network(
      "dns: {hosts: {gw.lab.example: 192.168.122.1}}, dhcp: {domain: lab.example, reservations: [{mac: "
      "52:54:00:aa:00:01, address: 192.168.122.90, hostname: web1}]}");
  const dhcp::Lease leases[] = {lease(12, "gw"), lease(11, "web1"), lease(90, "web1"), lease(14, "twin"),
                                lease(13, "twin")};
  EXPECT_EQ(dns_hosts(config, leases),
            "192.168.122.1 gw.lab.example gw\n"
            "192.168.122.90 web1.lab.example web1\n"
            "192.168.122.13 twin.lab.example twin\n");
}

}  // namespace
}  // namespace vmnat::control
