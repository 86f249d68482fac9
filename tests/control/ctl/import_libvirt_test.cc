// SPDX-License-Identifier: Apache-2.0
// Networks of libvirt's in, configurations out: what they say, what becomes a comment, and that vmnatd takes all of them.
#include "control/ctl/import_libvirt.h"

#include <fstream>
#include <gmock/gmock.h>
#include <random>
#include <sstream>

#include "control/config/values.h"
#include "control/ctl/vmnatctl.h"
#include "tests/support/config_text.h"
#include "tests/support/temp_dir.h"

namespace vmnat::ctl {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string yaml_of(const std::string& xml) {
  const auto yaml = import_libvirt(xml, "net.xml");
  EXPECT_TRUE(yaml) << yaml.error();
  return yaml.value_or("");
}

std::string error_of(const std::string& xml) {
  const auto yaml = import_libvirt(xml, "net.xml");
  return yaml ? "no error: " + *yaml : yaml.error();
}

// What vmnatd makes of it.
config::Config config_of(const std::string& yaml) {
  const auto loaded = config::load_text(yaml);
  for (const std::string& problem : config::problems_of(loaded)) ADD_FAILURE() << problem << " in\n" << yaml;
  return loaded.value_or(config::Config{});
}
config::Network network_of(const std::string& yaml) {
  const config::Config config = config_of(yaml);
  return config.networks.empty() ? config::Network{} : config.networks[0];
}

std::string network(const std::string& elements) {
  return "<network><name>lab</name>" + elements + "</network>";
}
std::string routed_to_outside(const std::string& elements) {
  return network("<forward mode='nat'/><ip address='10.7.0.1' prefix='16'>" + elements + "</ip>");
}

constexpr const char* kDefault = R"(<network connections='1'>
  <name>default</name>
  <uuid>9a05da11-e96b-47f3-8253-a3a482e445f5</uuid>
  <forward mode='nat'>
    <nat>
      <port start='1024' end='65535'/>
    </nat>
  </forward>
  <bridge name='virbr0' stp='on' delay='0'/>
  <mac address='52:54:00:0a:cd:21'/>
  <ip address='192.168.122.1' netmask='255.255.255.0'>
    <dhcp>
      <range start='192.168.122.2' end='192.168.122.254'/>
    </dhcp>
  </ip>
</network>
)";

TEST(ImportLibvirt, TheDefaultNetworkIsTheSameNetwork) {
  const std::string yaml = yaml_of(kDefault);
  EXPECT_THAT(yaml, HasSubstr("# <uuid>: a network is known by its name\n"));
  EXPECT_THAT(yaml, HasSubstr("# <bridge name='virbr0' stp='on' delay='0'>: VMs are on vhost-user ports"));
  const config::Network is = network_of(yaml);
  EXPECT_EQ(is.name, "default");
  EXPECT_EQ(net::to_string(is.address), "192.168.122.1/24");
  EXPECT_EQ(is.mac, net::parse_mac("52:54:00:0a:cd:21"));
  EXPECT_EQ(is.forward, config::Forward::Nat);
  EXPECT_EQ(is.nat.ports, config::PortRange::of(1024, 65535));
  ASSERT_TRUE(is.dhcp);
  EXPECT_EQ(config::to_text(is.dhcp->ranges.at(0)), "192.168.122.2-192.168.122.254");
  EXPECT_EQ(is.dhcp->lease_time, std::chrono::hours{1}) << "libvirt's default";
}

TEST(ImportLibvirt, TheUplinkIsThereToBeEdited) {
  EXPECT_THAT(yaml_of(kDefault), HasSubstr("# The uplink is to be edited"));
  EXPECT_EQ(config_of(yaml_of(kDefault)).uplink.device.name, "eth0");
  EXPECT_EQ(config_of(yaml_of(network("<forward dev='eth7' mode='nat'/>"))).uplink.device.name, "eth7");
  EXPECT_EQ(
      config_of(yaml_of(network("<forward mode='nat'><interface dev='eth8'/></forward>"))).uplink.device.name,
      "eth8");
  const std::string yaml = yaml_of(network("<forward dev='a-name-that-is-too-long' mode='nat'/>"));
  EXPECT_EQ(config_of(yaml).uplink.device.name, "eth0");
  EXPECT_THAT(yaml, HasSubstr("# device: \"a-name-that-is-too-long\"\n"));
}

TEST(ImportLibvirt, LeasesReservationsAndNamesAreTheSame) {
  const config::Network is = network_of(yaml_of(network(
      "<domain name='lab.example' localOnly='yes'/><mtu size='9000'/><port isolated='yes'/><forward "
      "mode='nat'/>"
      "<ip address='10.7.0.1' prefix='16'><dhcp>"
      "<range start='10.7.1.0' end='10.7.1.255'><lease expiry='12' unit='hours'/></range>"
      "<range start='10.7.3.0' end='10.7.3.9'/>"
      "<host mac='52:54:00:aa:00:01' name='web1' ip='10.7.0.10'><lease expiry='12' unit='hours'/></host>"
      "<host mac='52:54:00:aa:00:02' ip='10.7.0.11'/>"
      "<bootp file='pxelinux.0' server='10.7.0.5'/></dhcp></ip>")));
  EXPECT_EQ(is.mtu, 9000);
  EXPECT_TRUE(is.isolated_ports);
  ASSERT_TRUE(is.dhcp);
  EXPECT_EQ(is.dhcp->ranges.size(), 2u);
  EXPECT_EQ(is.dhcp->lease_time, std::chrono::hours{12});
  EXPECT_EQ(is.dhcp->domain, "lab.example");
  ASSERT_EQ(is.dhcp->reservations.size(), 2u);
  EXPECT_EQ(is.dhcp->reservations[0].hostname, "web1");
  EXPECT_EQ(is.dhcp->reservations[1].address, net::Ipv4Addr::of(10, 7, 0, 11));
  ASSERT_TRUE(is.dhcp->boot);
  EXPECT_EQ(is.dhcp->boot->file, "pxelinux.0");
}

TEST(ImportLibvirt, ReadsLeaseTimesInEachUnit) {
  for (const auto& [lease, seconds] : {std::pair{"expiry='600' unit='seconds'", 600},
                                       {"expiry='90'", 5400},
                                       {"expiry='2' unit='hours'", 7200},
                                       {"expiry='0'", int{-1}}}) {
    const auto is = network_of(yaml_of(routed_to_outside(
        "<dhcp><range start='10.7.0.2' end='10.7.0.9'><lease " + std::string{lease} + "/></range></dhcp>")));
    EXPECT_EQ(is.dhcp->lease_time, seconds < 0 ? config::kInfiniteLease : std::chrono::seconds{seconds})
        << lease;
  }
}

TEST(ImportLibvirt, ReadsPrefixLengthsMasksAndClasses) {
  for (const auto& [ip, prefix] : {std::pair{"address='10.7.0.1' prefix='20'", "10.7.0.1/20"},
                                   {"address='10.7.0.1' netmask='255.255.254.0'", "10.7.0.1/23"},
                                   {"address='10.7.0.1'", "10.7.0.1/8"},
                                   {"address='172.16.0.1'", "172.16.0.1/16"},
                                   {"address='192.168.7.1' family='ipv4'", "192.168.7.1/24"}})
    EXPECT_EQ(net::to_string(network_of(yaml_of(network("<ip " + std::string{ip} + "/>"))).address), prefix);
}

TEST(ImportLibvirt, ForwardModesBecomeWhatIsNearest) {
  using config::Forward;
  const struct {
    const char* element;
    Forward forward;
    const char* comment;
  } kCases[] = {
      {"", Forward::None, ""},
      {"<forward/>", Forward::Nat, ""},
      {"<forward mode='nat'/>", Forward::Nat, ""},
      {"<forward mode='route'/>", Forward::Route, ""},
      {"<forward mode='open'/>", Forward::Route, ""},
      {"<forward mode='bridge'/>", Forward::None, "# <forward mode='bridge'>: the host's own network"},
  };
  for (const auto& [element, forward, comment] : kCases) {
    const std::string yaml = yaml_of(network(std::string{element} + "<ip address='10.7.0.1' prefix='24'/>"));
    EXPECT_EQ(network_of(yaml).forward, forward) << element;
    EXPECT_THAT(yaml, HasSubstr(comment));
  }
}

TEST(ImportLibvirt, PoolsAndPortsAreTheSame) {
  const config::Network is = network_of(yaml_of(
      network("<forward mode='nat'><nat><address start='203.0.113.10' end='203.0.113.19'/><port start='2000' "
              "end='2999'/></nat></forward><ip address='10.7.0.1' prefix='24'/>")));
  EXPECT_EQ(config::to_text(is.nat.addresses.at(0)), "203.0.113.10-203.0.113.19");
  EXPECT_EQ(is.nat.ports, config::PortRange::of(2000, 2999));
}

TEST(ImportLibvirt, TheHostIsOnTheNetworkWhereLibvirtPutsIt) {
  const auto host_of = [](const std::string& elements) {
    return network_of(yaml_of(network(elements + "<ip address='10.7.0.1' prefix='24'/>"))).host;
  };
  for (const char* mode : {"nat", "route", "open"})
    EXPECT_TRUE(host_of(std::string{"<forward mode='"} + mode + "'/>")) << mode;
  EXPECT_TRUE(host_of("")) << "an isolated network's host is on it";
  EXPECT_FALSE(host_of("<forward mode='bridge'/>")) << "no bridge of libvirt's";
  EXPECT_FALSE(network_of(yaml_of(network("<forward mode='nat'/>"))).host) << "no address";
  EXPECT_EQ(host_of("<bridge name='virbr3'/>")->interface, "vmnat3");
  EXPECT_EQ(host_of("<bridge name='lab-bridge'/>")->interface, "lab-bridge");
  EXPECT_EQ(host_of("")->interface, "vmnat0");
  EXPECT_TRUE(host_of("")->services.empty());
}

TEST(ImportLibvirt, NamesAndResolversAreTheSame) {
  const config::Network is = network_of(yaml_of(network(
      "<forward mode='nat'/><domain name='lab.example' localOnly='yes'/>"
      "<dns><forwarder addr='192.0.2.53'/><forwarder addr='192.0.2.54'/>"
      "<forwarder domain='corp.example' addr='10.0.0.53'/><forwarder domain='corp.example' addr='10.0.0.54'/>"
      "<host ip='10.7.0.5'><hostname>gw</hostname><hostname>gw.lab.example</hostname></host>"
      "<txt name='lab.example' value='a lab'/>"
      "<srv service='ldap' protocol='tcp' domain='lab.example' target='gw.lab.example' port='389' "
      "priority='1' "
      "weight='2'/></dns>"
      "<ip address='10.7.0.1' prefix='24'><dhcp><range start='10.7.0.2' end='10.7.0.9'/></dhcp></ip>")));
  const auto resolver = [](std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
    return net::Endpoint{net::Ipv4Addr::of(a, b, c, d), net::L4Port::from_host(53)};
  };
  const auto gateway = net::Ipv4Addr::of(10, 7, 0, 5);
  const config::Dns wanted{
      .hosts = {{"gw", gateway}, {"gw.lab.example", gateway}},
      .txt = {{"lab.example", "a lab"}},
      .srv = {{.service = "ldap",
               .protocol = net::Protocol::Tcp,
               .domain = "lab.example",
               .target = "gw.lab.example",
               .port = net::L4Port::from_host(389),
               .priority = 1,
               .weight = 2}},
      .forwarders = {resolver(192, 0, 2, 53), resolver(192, 0, 2, 54)},
      .domain_forwarders = {{"corp.example", {resolver(10, 0, 0, 53), resolver(10, 0, 0, 54)}}}};
  ASSERT_TRUE(is.dns);
  EXPECT_EQ(*is.dns, wanted);
  EXPECT_EQ(is.dhcp->dns.from, config::DnsSource::Gateway);
}

TEST(ImportLibvirt, DnsIsServedWhereLibvirtServesIt) {
  const auto with = [](const std::string& elements, const std::string& dhcp) {
    return network_of(yaml_of(network(elements + "<ip address='10.7.0.1' prefix='24'>" + dhcp + "</ip>")));
  };
  EXPECT_TRUE(config::serves_dns(with("<forward/>", "<dhcp/>")));
  EXPECT_TRUE(config::serves_dns(with("<forward/>", ""))) << "VMs with addresses of their own ask it, too";
  EXPECT_TRUE(config::serves_dns(with("", "<dhcp/>"))) << "an isolated network";
  EXPECT_FALSE(config::serves_dns(with("<forward mode='bridge'/>", "<dhcp/>")));
  const config::Network silent = with("<forward/><dns enable='no'/>", "<dhcp/>");
  EXPECT_FALSE(config::serves_dns(silent));
  EXPECT_TRUE(silent.dhcp->dns.servers.empty());
  EXPECT_EQ(silent.dhcp->dns.from, config::DnsSource::Listed);
}

// Kilobytes of 1000 a second, bursts of 1024, as libvirt gives them to tc.
TEST(ImportLibvirt, BandwidthIsALimitThatTheVmsShare) {
  const config::Network is = network_of(
      yaml_of(network("<bandwidth><inbound average='1000' peak='5000' burst='1024'/><outbound average='128' "
                      "burst='256'/></bandwidth><forward/><ip address='10.7.0.1' prefix='24'/>")));
  ASSERT_TRUE(is.shared_limit);
  const config::RateLimit in{.rate = config::BitRate{8'000'000},
                             .burst = config::ByteSize{1 << 20},
                             .peak = config::BitRate{40'000'000},
                             .packets = {}};
  const config::RateLimit out{
      .rate = config::BitRate{1'024'000}, .burst = config::ByteSize{256 << 10}, .peak = {}, .packets = {}};
  EXPECT_EQ(is.shared_limit->in, in);
  EXPECT_EQ(is.shared_limit->out, out);
  const std::string refused = yaml_of(
      network("<bandwidth><inbound average='many'/></bandwidth><ip address='10.7.0.1' prefix='24'/>"));
  EXPECT_THAT(refused, HasSubstr("'many' is not a rate"));
}

TEST(ImportLibvirt, EachElementWithoutACounterpartIsAComment) {
  const std::string yaml = yaml_of(
      "<network ipv6='yes' xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'><name>lab</name>"
      "<title>a &lt;lab&gt;\n of ours</title><bandwidth><inbound average='1' floor='1'/></bandwidth>"
      "<forward mode='nat'><nat ipv6='yes'/></forward><portgroup name='fast'/><route address='10.0.0.0' "
      "prefix='8'/>"
      "<dns><host ip='10.7.0.5'/><txt name='t'/><srv service='s'/><forwarder domain='d'/></dns>"
      "<ip address='10.7.0.1' prefix='24'><tftp root='/srv'/><dhcp><host name='only-named' ip='10.7.0.3'/>"
      "<host mac='52:54:00:aa:00:01' ip='10.7.0.4' name='not a label'/></dhcp></ip>"
      "<ip address='10.8.0.1' prefix='24'/><ip family='ipv6' address='fd00::1' prefix='64'/><brand new='1'/>"
      "<dnsmasq:options><dnsmasq:option value='foo=bar'/></dnsmasq:options></network>");
  for (const char* comment :
       {"# <network ipv6='yes'", "# <title>: ", "# <inbound average='1' floor='1'>: nobody is promised",
        "# <nat ipv6='yes'>: IPv6", "# <portgroup name='fast'>: ",
        "# <route address='10.0.0.0' prefix='8'>: ", "# <host ip='10.7.0.5'>: it has no name",
        "# \"t\": \"\"\n", "# - {service: \"s\"}\n", "# <forwarder domain='d'>: ", "# <tftp root='/srv'>: ",
        "# <host name='only-named' ip='10.7.0.3'>: a reservation is",
        "name='not a label'>: a hostname is one label",
        "# <ip address='10.8.0.1' prefix='24'>: a network has one",
        "# <ip family='ipv6' address='fd00::1' prefix='64'>: IPv6", "# <brand new='1'>: is not known here",
        "# <dnsmasq:option value='foo=bar'>: dnsmasq is told"})
    EXPECT_THAT(yaml, HasSubstr(comment));
  const config::Network is = network_of(yaml);
  ASSERT_EQ(is.dhcp->reservations.size(), 1u);
  EXPECT_EQ(is.dhcp->reservations[0].hostname, "");
}

TEST(ImportLibvirt, PortsAreIsolatedWhereTheNetworkOrItsDefaultPortgroupSaysSo) {
  const auto is_isolated = [](const std::string& elements) {
    return network_of(yaml_of(network("<forward mode='nat'/>" + elements))).isolated_ports;
  };
  EXPECT_FALSE(is_isolated("<port isolated='no'/>"));
  EXPECT_TRUE(is_isolated("<port isolated='yes'/>"));
  EXPECT_TRUE(is_isolated(
      "<portgroup name='a'/><portgroup name='b' default='yes'><port isolated='yes'/></portgroup>"));
  const std::string of_some = "<portgroup name='lonely'><port isolated='yes'/></portgroup>";
  EXPECT_FALSE(is_isolated(of_some));
  EXPECT_THAT(yaml_of(network("<forward mode='nat'/>" + of_some)),
              HasSubstr("# isolated are the ports of lonely alone: give each of them a group of its own\n"));
}

TEST(ImportLibvirt, WhatVmnatdRefusesIsAComment) {
  const std::string yaml = yaml_of(
      network("<forward mode='nat'><nat><port start='500' end='1000'/></nat></forward><mtu size='20'/>"
              "<ip address='10.7.0.1' prefix='24'><dhcp><range start='10.9.0.2' end='10.9.0.9'/>"
              "<host mac='52:54:00:aa:00:01' ip='10.7.0.4'/><host mac='52:54:00:aa:00:01' "
              "ip='10.7.0.5'/></dhcp></ip>"));
  EXPECT_THAT(yaml, HasSubstr("    # mtu: \"20\"\n"));
  EXPECT_THAT(yaml, HasSubstr("      # ports: \"500-1000\"\n"));
  EXPECT_THAT(yaml, HasSubstr("        # - \"10.9.0.2-10.9.0.9\"\n"));
  const config::Network is = network_of(yaml);
  EXPECT_EQ(is.mtu, 1500);
  ASSERT_EQ(is.dhcp->reservations.size(), 1u) << "the second one of a MAC address is left out";
}

TEST(ImportLibvirt, ANameOrAddressThatCannotBeIsReplaced) {
  const std::string yaml =
      yaml_of("<network><name>my net (2)</name><forward/><ip address='10.7.0.0' prefix='24'/></network>");
  EXPECT_THAT(yaml, HasSubstr("# - name: \"my net (2)\"\n"));
  EXPECT_THAT(yaml, HasSubstr("to be edited"));
  EXPECT_EQ(network_of(yaml).name, "my-net--2-");
  EXPECT_EQ(net::to_string(network_of(yaml).address), "192.168.122.1/24");
  EXPECT_EQ(network_of(yaml_of("<network/>")).name, "default");
  EXPECT_EQ(network_of(yaml_of("<network><name>uplink</name></network>")).name, "default");
}

TEST(ImportLibvirt, WrongXmlIsToldWithItsLine) {
  EXPECT_THAT(error_of("<network>\n  <name>a</nam>\n</network>"), testing::StartsWith("net.xml:2:"));
  EXPECT_THAT(error_of("<network>\n  <name>a"), testing::StartsWith("net.xml:"));
  EXPECT_THAT(error_of(""), testing::StartsWith("net.xml:1:1: "));
  EXPECT_THAT(error_of("no xml at all"), testing::StartsWith("net.xml:1:"));
  EXPECT_THAT(error_of("\n\n<domain><name>a</name></domain>"), testing::StartsWith("net.xml:3:"));
  EXPECT_THAT(error_of("<domain/>"), HasSubstr("<network> is expected"));
  EXPECT_THAT(error_of("<network/>\n<network/>"), HasSubstr("one network at a time"));
}

TEST(ImportLibvirt, NoEntityOrFileOfOthersIsRead) {
  const std::string yaml = yaml_of(
      "<!DOCTYPE network [<!ENTITY x SYSTEM 'file:///etc/hostname'>]><network><name>a&x;b</name></network>");
  EXPECT_THAT(yaml, HasSubstr("a&x;b"));
}

// Elements and values at random, some of them as they should be: whatever it is, vmnatd takes what comes out.
class AnyNetwork {
 public:
  explicit AnyNetwork(unsigned seed) : random_(seed) {}
  std::string xml() { return "<network" + attributes() + ">" + children(0) + "</network>"; }

 private:
  template <std::size_t N>
  const char* one_of(const char* const (&all)[N]) {
    return all[random_() % N];
  }
  std::string value() {
    static constexpr const char* kValues[] = {"10.7.0.1",
                                              "10.7.0.2",
                                              "10.7.0.9",
                                              "255.255.255.0",
                                              "24",
                                              "0",
                                              "-1",
                                              "99999999999999999999",
                                              "nat",
                                              "none",
                                              "52:54:00:aa:00:01",
                                              "yes",
                                              "a: b",
                                              "- x",
                                              "#",
                                              "&#10;x: y",
                                              "&quot;",
                                              "{",
                                              "}",
                                              "]",
                                              "%",
                                              "\xff\xfe",
                                              "&#1;",
                                              "",
                                              "\xc2\x85",
                                              "\xe2\x80\xa8",
                                              "lab",
                                              "hours",
                                              "eth0",
                                              "192.168.122.1",
                                              "*a",
                                              "!t",
                                              "uplink",
                                              "\xef\xbb\xbf",
                                              "\\x"};
    return one_of(kValues);
  }
  std::string attributes() {
    static constexpr const char* kNames[] = {"address", "netmask",  "prefix", "start",    "end",  "mode",
                                             "dev",     "name",     "mac",    "ip",       "size", "file",
                                             "server",  "expiry",   "unit",   "enable",   "addr", "family",
                                             "domain",  "isolated", "ipv6",   "localOnly"};
    std::string all;
    for (unsigned i = random_() % 5; i > 0; --i)
      all += std::string(" ") + one_of(kNames) + "=\"" + value() + "\"";
    return all;
  }
  std::string children(unsigned depth) {
    static constexpr const char* kElements[] = {
        "name",  "forward", "nat",       "ip",        "dhcp",   "range",     "host",
        "lease", "dns",     "forwarder", "mac",       "mtu",    "domain",    "bootp",
        "tftp",  "address", "port",      "interface", "bridge", "portgroup", "dnsmasq:options",
        "txt",   "srv",     "hostname"};
    std::string all = random_() % 3 == 0 ? value() : "";
    for (unsigned i = depth > 3 ? 0 : random_() % 6; i > 0; --i) {
      const std::string name = one_of(kElements);
      all += "<" + name + attributes() + ">" + children(depth + 1) + "</" + name + ">";
    }
    return all;
  }

  std::mt19937 random_;
};

TEST(ImportLibvirt, WhateverComesOutVmnatdTakes) {
  for (unsigned seed = 0; seed < 3000; ++seed) {
    const std::string xml = AnyNetwork(seed).xml();
    const auto yaml = import_libvirt(xml, "net.xml");
    if (!yaml) continue;
    const auto loaded = config::load_text(*yaml);
    ASSERT_TRUE(loaded) << "seed " << seed << ": " << config::problems_of(loaded).at(0) << "\n"
                        << xml << "\n"
                        << *yaml;
  }
}

TEST(ImportLibvirt, IsACommandThatAsksNoDaemon) {
  const TempDir directory;
  std::ofstream(directory / "net.xml") << kDefault;
  std::ofstream(directory / "bad.xml") << "<network>";
  std::ostringstream out, err;
  const auto run = [&](const std::string& file) {
    out.str("");
    err.str("");
    return run_vmnatctl({"--socket", directory / "nobody", "import-libvirt", directory / file}, out, err);
  };
  EXPECT_EQ(run("net.xml"), 0);
  EXPECT_EQ(network_of(out.str()).name, "default");
  EXPECT_EQ(run("bad.xml"), 1);
  EXPECT_THAT(err.str(), testing::StartsWith("vmnatctl: " + directory / "bad.xml:1:"));
  EXPECT_EQ(out.str(), "");
  EXPECT_EQ(run("none.xml"), 1);
  EXPECT_EQ(err.str(), "vmnatctl: " + directory / "none.xml cannot be read\n");
}

}  // namespace
}  // namespace vmnat::ctl
