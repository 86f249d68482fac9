// SPDX-License-Identifier: Apache-2.0
// What good configurations mean: values, defaults that depend on others, and how problems are printed.
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>

#include "control/config/dump.h"
#include "control/config/keys_network.h"
#include "control/config/resolvers.h"
#include "control/config/section.h"
#include "control/config/yaml_document.h"
#include "tests/support/config_text.h"

namespace vmnat::config {
namespace {

using namespace std::chrono_literals;
using net::Ipv4Addr;

// The Config of a text that must be good.
Config config_of(const std::string& text) {
  const auto loaded = load_text(text);
  for (const std::string& problem : problems_of(loaded)) ADD_FAILURE() << problem << "\n" << text;
  return loaded ? *loaded : Config{};
}
Network network_of(const std::string& keys) {
  const Config config =
      config_of(kUplink + "networks: [{name: a, address: 192.168.122.1/24, " + keys + "}]\n");
  return config.networks.empty() ? Network{} : config.networks.front();
}

TEST(Config, HasDefaultsForAllThatIsLeftOut) {
  const Config config = config_of(kUplink + kNetworks);
  EXPECT_TRUE(config.dataplane.workers.empty());
  EXPECT_EQ(config.dataplane.memory, ByteSize::mebibytes(512));
  EXPECT_EQ(config.dataplane.idle, Idle::Adaptive);
  EXPECT_EQ(config.uplink.mtu, 1500);
  EXPECT_FALSE(config.networks.at(0).dhcp.has_value());
  EXPECT_EQ(config.networks.at(0).nat.ports, PortRange::of(1024, 65535));
  EXPECT_EQ(config.networks.at(0).nat.mapping, Mapping::EndpointIndependent);
  EXPECT_EQ(config.networks.at(0).nat.timeouts.tcp_established, 2h + 4min);
  EXPECT_EQ(config.conntrack.sessions, 1048576u);
  EXPECT_EQ(config.control.socket, "/run/vmnat/vmnat.sock");
  EXPECT_EQ(config.control.group, "");
  EXPECT_TRUE(config.control.admins.empty());
  EXPECT_FALSE(config.control.metrics.has_value());
}

TEST(Config, ReadsEveryKindOfValue) {
  const Config config = config_of(
      "dataplane: {workers: [3, 1], control_cpu: 0, memory: 2G, hugepages: required, idle: poll, eal: [-n, "
      "\"4\"]}\n"
      "uplink: {device: \"net_vhost0,iface=/run/up\", address: 198.51.100.7/31, gateway: 198.51.100.6,\n"
      "         mac: 52:54:00:AA:bb:01, mtu: 9000, queues: 1}\n" +
      kNetworks +
      "conntrack: {sessions: 4194304}\n"
      "control: {socket: /tmp/s, group: ops, admins: [alice, \"1000\"], metrics: off, state_dir: /tmp/d}\n");
  EXPECT_EQ(config.control.group, "ops");
  EXPECT_EQ(config.control.admins, (std::vector<std::string>{"alice", "1000"}));
  EXPECT_EQ(config.dataplane.workers, (std::vector<unsigned>{3, 1}));
  EXPECT_EQ(config.dataplane.control_cpu, 0u);
  EXPECT_EQ(config.dataplane.memory.bytes, 2ull << 30);
  EXPECT_EQ(config.dataplane.hugepages, Hugepages::Required);
  EXPECT_EQ(config.dataplane.idle, Idle::Poll);
  EXPECT_EQ(config.dataplane.eal, (std::vector<std::string>{"-n", "4"}));
  EXPECT_EQ(config.uplink.device, (NamedDevice{.name = "net_vhost0,iface=/run/up"}));
  EXPECT_EQ(net::to_string(*config.uplink.address), "198.51.100.7/31");
  EXPECT_EQ(net::to_string(*config.uplink.mac), "52:54:00:aa:bb:01");
  EXPECT_EQ(config.uplink.queues, 1u);
  EXPECT_EQ(config.conntrack.sessions, 4194304u);
}

TEST(Config, MasqueradesAsTheUplinkWhenNoAddressIsGiven) {
  const AddressRange uplink{Ipv4Addr::of(203, 0, 113, 2), Ipv4Addr::of(203, 0, 113, 2)};
  EXPECT_EQ(network_of("mtu: 1500").nat.addresses, std::vector{uplink});
  EXPECT_EQ(network_of("nat: {addresses: uplink}").nat.addresses, std::vector{uplink});
  EXPECT_EQ(external_addresses(network_of("nat: {}")), std::vector{uplink.first});
}

TEST(Config, ExpandsRangesOfExternalAddresses) {
  const auto addresses =
      external_addresses(network_of("nat: {addresses: [203.0.113.9, 203.0.113.16-203.0.113.18]}"));
  EXPECT_EQ(addresses, (std::vector{Ipv4Addr::of(203, 0, 113, 9), Ipv4Addr::of(203, 0, 113, 16),
                                    Ipv4Addr::of(203, 0, 113, 17), Ipv4Addr::of(203, 0, 113, 18)}));
}

TEST(Config, GivesAnIsolatedNetworkNoExternalAddress) {
  const Network network = network_of("forward: none");
  EXPECT_EQ(network.forward, Forward::None);
  EXPECT_TRUE(external_addresses(network).empty());
}

TEST(Config, LeasesTheWholeNetworkUnlessToldOtherwise) {
  const auto everything =
      std::vector{AddressRange{Ipv4Addr::of(192, 168, 122, 1), Ipv4Addr::of(192, 168, 122, 254)}};
  EXPECT_EQ(network_of("dhcp: {}").dhcp->ranges, everything);
  EXPECT_EQ(network_of("dhcp:").dhcp->ranges, everything);
  EXPECT_EQ(network_of("dhcp: {ranges: auto}").dhcp->ranges, everything);
  EXPECT_TRUE(network_of("dhcp: {ranges: []}").dhcp->ranges.empty());
}

TEST(Config, TellsVmsTheResolversOfTheHostUnlessToldOtherwise) {
  EXPECT_EQ(network_of("dhcp: {}").dhcp->dns.servers, std::vector{Ipv4Addr::of(192, 0, 2, 53)});
  EXPECT_EQ(network_of("dhcp: {dns: host}").dhcp->dns.servers, std::vector{Ipv4Addr::of(192, 0, 2, 53)});
  EXPECT_EQ(network_of("dhcp: {dns: [9.9.9.9]}").dhcp->dns.servers, std::vector{Ipv4Addr::of(9, 9, 9, 9)});
  EXPECT_TRUE(network_of("dhcp: {dns: []}").dhcp->dns.servers.empty());
  for (const char* dhcp : {"dhcp: {}", "dhcp: {dns: host}"})
    EXPECT_EQ(network_of(dhcp).dhcp->dns.from, DnsSource::Host);
  for (const char* dhcp : {"dhcp: {dns: [9.9.9.9]}", "dhcp: {dns: []}"})
    EXPECT_EQ(network_of(dhcp).dhcp->dns.from, DnsSource::Listed);
}

TEST(Config, TellsVmsTheGatewayWhereTheHostIsOnTheNetworkUnlessToldOtherwise) {
  const std::string host = "host: {interface: v0}, dhcp: ";
  EXPECT_EQ(network_of(host + "{}").dhcp->dns.from, DnsSource::Gateway);
  EXPECT_EQ(network_of(host + "{dns: gateway}").dhcp->dns.from, DnsSource::Gateway);
  EXPECT_EQ(network_of(host + "{dns: host}").dhcp->dns.from, DnsSource::Host);
  EXPECT_EQ(network_of(host + "{dns: []}").dhcp->dns.from, DnsSource::Listed);
  EXPECT_EQ(network_of(host + "{}").dhcp->dns.servers, std::vector{Ipv4Addr::of(192, 0, 2, 53)})
      << "what is told while it serves no DNS";
}

TEST(Config, ServesDnsWhereVmsAreToldToAskTheGatewayOrTheFileHasRecords) {
  EXPECT_TRUE(serves_dns(network_of("host: {interface: v0}, dhcp: {}")));
  EXPECT_TRUE(serves_dns(network_of("host: {interface: v0}, dns: {}")));
  EXPECT_TRUE(serves_dns(network_of("host: {interface: v0}, dns: {}, dhcp: {dns: [9.9.9.9]}")));
  EXPECT_FALSE(serves_dns(network_of("host: {interface: v0}, dhcp: {dns: [9.9.9.9]}")));
  EXPECT_FALSE(serves_dns(network_of("host: {interface: v0}")));
  EXPECT_FALSE(serves_dns(network_of("dhcp: {}")));
}

TEST(Config, ReadsDnsRecordsAndForwarders) {
  const Network network = network_of(
      "host: {interface: v0}, dns: {hosts: {gw.lab: 192.168.122.1, b: 10.0.0.1}, txt: {lab: \"a, b: c\"}, "
      "srv: "
      "[{service: sip, protocol: udp, domain: lab, target: pbx.lab, port: 5060, priority: 1, weight: 2}], "
      "forwarders: [9.9.9.9, 127.0.0.1:5353], domain_forwarders: {corp.example: [10.0.0.53]}}");
  const auto resolver = [](Ipv4Addr address, std::uint16_t port) {
    return net::Endpoint{address, net::L4Port::from_host(port)};
  };
  const Dns expected{
      .hosts = {{"gw.lab", Ipv4Addr::of(192, 168, 122, 1)}, {"b", Ipv4Addr::of(10, 0, 0, 1)}},
      .txt = {{"lab", "a, b: c"}},
      .srv = {{.service = "sip",
               .protocol = net::Protocol::Udp,
               .domain = "lab",
               .target = "pbx.lab",
               .port = net::L4Port::from_host(5060),
               .priority = 1,
               .weight = 2}},
      .forwarders = {resolver(Ipv4Addr::of(9, 9, 9, 9), 53), resolver(Ipv4Addr::of(127, 0, 0, 1), 5353)},
      .domain_forwarders = {{"corp.example", {resolver(Ipv4Addr::of(10, 0, 0, 53), 53)}}}};
  EXPECT_EQ(*network.dns, expected);
}

TEST(Config, ReadsLeaseTimes) {
  EXPECT_EQ(network_of("dhcp: {lease_time: 2m}").dhcp->lease_time, 2min);
  EXPECT_EQ(network_of("dhcp: {lease_time: 1d12h}").dhcp->lease_time, 36h);
  EXPECT_EQ(network_of("dhcp: {lease_time: infinite}").dhcp->lease_time, kInfiniteLease);
}

TEST(Config, ReadsPorts) {
  const Network network =
      network_of("ports: [{name: vm1, vhost_user: /run/v, mode: server}, {name: lab0, device: veth0}]");
  EXPECT_EQ(network.ports.at(0), (VmPort{.name = "vm1", .vhost_user = "/run/v", .mode = VhostMode::Server}));
  EXPECT_EQ(network.ports.at(0).guard, PortGuard::On) << "a VM";
  EXPECT_EQ(network.ports.at(1).guard, PortGuard::Off) << "a device may lead to a whole segment";
  EXPECT_EQ(network.ports.at(1),
            (VmPort{.name = "lab0", .device = {.name = "veth0"}, .guard = PortGuard::Off, .relay = true}));
}

TEST(Config, ReadsRules) {
  const Network network = network_of(
      "rules: [{direction: in, action: accept}, {direction: out, action: reject, protocol: tcp, remote: "
      "198.51.100.0/24, local_port: 1024-65535, remote_port: 25, log: true}, {direction: out, action: drop, "
      "protocol: icmp, icmp_type: 8, remote: \"port:vm1\"}, {direction: in, action: drop, protocol: 47, "
      "remote: "
      "9.9.9.9}, {direction: in, action: drop, protocol: any, remote: any, local_port: any, icmp_type: "
      "any}], "
      "ports: [{name: vm1, vhost_user: /run/v, group: web, rules: [{direction: in, action: drop, remote: "
      "\"network:a\"}]}]");
  ASSERT_EQ(network.rules.size(), 5u);
  EXPECT_EQ(network.rules[0], FilterRule{});
  EXPECT_EQ(
      network.rules[1],
      (FilterRule{.direction = RuleDirection::Out,
                  .action = RuleAction::Reject,
                  .protocol = net::Protocol::Tcp,
                  .remote = RuleRemote{RuleRemote::Kind::Prefix, {Ipv4Addr::of(198, 51, 100, 0), 24}, {}},
                  .local_port = PortRange::of(1024, 65535),
                  .remote_port = PortRange::of(25, 25),
                  .log = true}));
  EXPECT_EQ(network.rules[2].remote, (RuleRemote{RuleRemote::Kind::Port, {}, "vm1"}));
  EXPECT_EQ(network.rules[2].icmp_type, 8);
  EXPECT_EQ(network.rules[3].protocol, static_cast<net::Protocol>(47));
  EXPECT_EQ(network.rules[3].remote->prefix.length, 32);
  EXPECT_EQ(network.rules[4], (FilterRule{.action = RuleAction::Drop}));
  EXPECT_EQ(network.ports[0].group, "web");
  EXPECT_EQ(network.ports[0].rules[0].remote, (RuleRemote{RuleRemote::Kind::Network, {}, "a"}));
}

TEST(Config, AKernelInterfaceMayNameItsDriver) {
  const Config config = config_of(
      "uplink: {device: {interface: eth0, driver: xdp}, address: 203.0.113.2/24, gateway: 203.0.113.1}\n"
      "networks: [{name: a, address: 192.168.122.1/24, ports: [{name: p, device: {interface: veth0, driver: "
      "packet}}, {name: q, device: {interface: veth1}}, {name: r, device: {driver: auto, interface: "
      "veth2}}]}]\n");
  EXPECT_EQ(config.uplink.device, (NamedDevice{"eth0", KernelDriver::Xdp}));
  const auto& ports = config.networks.at(0).ports;
  EXPECT_EQ(ports.at(0).device, (NamedDevice{"veth0", KernelDriver::Packet}));
  EXPECT_EQ(ports.at(1).device, NamedDevice{"veth1"});
  EXPECT_EQ(ports.at(2).device, NamedDevice{"veth2"});
  EXPECT_EQ(ports.at(2).guard, PortGuard::Off) << "it is a device all the same";
}

TEST(Config, OneDeviceOfDpdksMayBeTheUplinkAndManyPortsEachAnotherVlan) {
  const Config config = config_of(
      "uplink: {device: \"0000:3b:00.0\", vlan: 100, address: 203.0.113.2/24, gateway: 203.0.113.1}\n"
      "networks: [{name: a, address: 192.168.122.1/24, ports: [{name: p, device: \"3b:00.0\", vlan: 10}]}, "
      "{name: b, address: 192.168.5.1/24, ports: [{name: q, device: \"0000:3b:00.0\", vlan: 20}, "
      "{name: r, device: \"0000:3b:00.1\"}]}]\n");
  EXPECT_EQ(vlan_of(config.uplink), 100);
  EXPECT_EQ(vlan_of(config.networks.at(0).ports.at(0)), 10);
  EXPECT_EQ(vlan_of(config.networks.at(1).ports.at(0)), 20);
  EXPECT_EQ(vlan_of(config.networks.at(1).ports.at(1)), std::nullopt);
}

TEST(Config, WhatDpdkCallsADeviceIsItsAddressInFullOrTheNameBeforeItsArguments) {
  EXPECT_EQ(shareable_name("3b:00.0,opt=1"), "0000:3b:00.0");
  EXPECT_EQ(shareable_name("net_tap0,iface=tap0"), "net_tap0");
  for (const char* other : {"eth0", "net_vhost0,iface=/run/x", ""})
    EXPECT_EQ(shareable_name(other), "") << other;
  EXPECT_EQ(device_arguments("3b:00.0,opt=1"), ",opt=1");
  EXPECT_EQ(device_arguments("net_tap0"), "");
}

TEST(Dump, WritesADriverOnlyWhereOneWasChosen) {
  const std::string text = dump_config(config_of(
      "uplink: {device: {interface: eth0, driver: auto}, address: 203.0.113.2/24, gateway: 203.0.113.1}\n"
      "networks: [{name: a, address: 192.168.122.1/24, ports: [{name: p, device: {interface: veth0, driver: "
      "xdp}}, {name: q, vhost_user: /q}]}]\n"));
  EXPECT_NE(text.find("  device: \"eth0\"\n"), text.npos) << text;
  EXPECT_NE(
      text.find(
          "{name: \"p\", device: {interface: \"veth0\", driver: xdp, vlan: none}, vlan: none, queues: 1"),
      text.npos)
      << text;
  EXPECT_NE(text.find("{name: \"q\", vhost_user: \"/q\", mode: client"), text.npos) << text;
}

TEST(Config, ASocketsRelativePathIsWithinTheDirectory) {
  const Config config =
      config_of(kUplink +
                "vhost_user: {directory: /run/lab/, group: lab, mode: \"750\"}\n"
                "networks: [{name: a, address: 192.168.122.1/24, ports: [{name: p, "
                "vhost_user: p.sock}, {name: q, vhost_user: sub/./q}, {name: r, vhost_user: /r}]}]\n");
  EXPECT_EQ(config.vhost_user,
            (VhostUser{.directory = "/run/lab/", .owner = "root", .group = "lab", .mode = {0750}}));
  const auto& ports = config.networks.at(0).ports;
  EXPECT_EQ(ports.at(0).vhost_user, "/run/lab/p.sock");
  EXPECT_EQ(ports.at(1).vhost_user, "/run/lab/sub/q");
  EXPECT_EQ(ports.at(2).vhost_user, "/r");
}

TEST(Config, ASocketInADirectoryWithALongNameIsRefusedByItsWholePath) {
  const auto loaded = load_text(kUplink + "vhost_user: {directory: /run/" + std::string(100, 'd') +
                                "}\nnetworks: [{name: a, address: 192.168.122.1/24, ports: [{name: p, "
                                "vhost_user: vm1.sock}]}]\n");
  ASSERT_EQ(problems_of(loaded).size(), 1u);
  EXPECT_NE(problems_of(loaded)[0].find("has at most 107 characters, this one has 114"), std::string::npos)
      << problems_of(loaded)[0];
}

TEST(Config, WritesAModeSoThatYamlReadsItBack) {
  const Config config =
      config_of(kUplink + "vhost_user: {mode: 0700}\n" +
                "networks: [{name: a, address: "
                "192.168.122.1/24, ports: [{name: p, vhost_user: p, access: {mode: 0666}}]}]\n");
  const std::string text = dump_config(config);
  EXPECT_NE(text.find("  mode: \"0700\"\n"), text.npos) << text;
  EXPECT_NE(text.find("access: {mode: \"0666\"}"), text.npos) << text;
  EXPECT_EQ(config_of(text), config);
}

TEST(Config, ReadsWhatAPortDoesNotOffer) {
  const Network network = network_of(
      "ports: [{name: a, vhost_user: a, features: {without: [packed, mq]}}, {name: b, vhost_user: b}]");
  using enum VirtioFeature;
  EXPECT_EQ(network.ports.at(0).features, (Features{.without = {Packed, Mq}}));
  EXPECT_EQ(network.ports.at(1).features, std::nullopt);
}

TEST(Config, ReadsWhichPortsMayRelay) {
  const Network network = network_of(
      "ports: [{name: a, device: veth0, guard: on}, {name: b, device: veth1, relay: false}, "
      "{name: c, vhost_user: /c, relay: true}, {name: d, vhost_user: /d, guard: off}]");
  for (const auto& [port, may] : {std::pair{0u, false}, {1u, false}, {2u, true}, {3u, true}})
    EXPECT_EQ(network.ports.at(port).relay, may) << network.ports.at(port).name;
}

TEST(Config, UnderstandsAnchorsAndBlockStyle) {
  const Config config =
      config_of(kUplink +
                "networks:\n"
                "  - name: a\n    address: 192.168.122.1/24\n    nat: {limits: &few {sessions_per_port: 9}}\n"
                "  - name: b\n    address: 192.168.5.1/24\n    nat: {limits: *few}\n");
  EXPECT_EQ(config.networks.at(1).nat.limits.sessions_per_port, 9u);
}

TEST(Config, TellsDevicesApart) {
  EXPECT_EQ(device_kind("0000:3b:00.0"), DeviceKind::Pci);
  EXPECT_EQ(device_kind("3b:00.1"), DeviceKind::Pci);
  EXPECT_EQ(device_kind("0000:3b:00.0,rx_vec=1"), DeviceKind::Pci);
  EXPECT_EQ(device_kind("net_vhost0,iface=/run/x"), DeviceKind::Devargs);
  EXPECT_EQ(device_kind("net_null0"), DeviceKind::Devargs);
  EXPECT_EQ(device_kind("veth0"), DeviceKind::KernelInterface);
  EXPECT_EQ(device_kind("enp59s0f0"), DeviceKind::KernelInterface);
}

TEST(Config, IsTheSameAfterBeingWrittenAndReadAgain) {
  const Config config = config_of(
      "dataplane: {workers: [3, 1], control_cpu: 0, memory: 65536K, eal: [\"a \\\"b\\\" \\\\ \\t\"]}\n"
      "uplink: {device: \"net_vhost0,iface=/run/up\", address: 198.51.100.7/24, gateway: 198.51.100.6, mtu: "
      "68}\n"
      "networks:\n"
      "- {name: a, address: 10.0.0.1/8, mac: 52:54:00:00:00:09, forward: none, dhcp: {lease_time: infinite, "
      "dns: []}}\n"
      "- name: b\n"
      "  address: 192.168.5.1/24\n"
      "  ports: [{name: p, vhost_user: \"/run/a b\", mode: server}, {name: q, device: veth9}, {name: r, "
      "device: "
      "{interface: veth10, driver: xdp}}, {name: s, device: {interface: veth11, driver: packet}}]\n"
      "  dhcp: {domain: lab.example, reservations: [{mac: 52:54:00:00:00:10, address: 192.168.5.9, hostname: "
      "h}]}\n"
      "  nat: {addresses: [198.51.100.7-198.51.100.9], ports: 2000-2999, reserved_ports: [2000, 2500-2600],\n"
      "        mapping: endpoint-dependent, overload: false, tcp_mid_stream: pick-up, timeouts: "
      "{udp_answered: 1h1s}, limits: "
      "{sessions_per_port: 7}}\n");
  EXPECT_EQ(config_of(dump_config(config)), config);
}

// PyYAML and others of YAML 1.1 read on and off, and a MAC address of decimal digits, as what they are not.
TEST(Dump, QuotesWhatOtherReadersWouldMistake) {
  const std::string text = dump_config(config_of(
      kUplink +
      "networks: [{name: a, address: 192.168.122.1/24, mac: 52:54:00:00:00:01, ports: [{name: p, vhost_user: "
      "/a, guard: off}]}]\n"));
  for (const char* line : {"mac: \"52:54:00:00:00:01\"", "guard: \"off\"", "metrics: \"off\""})
    EXPECT_NE(text.find(line), text.npos) << line << " in\n" << text;
}

TEST(Dump, RemarksWhatIsNotFromTheFile) {
  Origins origins;
  auto options = fixed_resolvers();
  options.origins = &origins;
  const auto config = load_config_text(
      kUplink +
          "networks: [{name: a, address: 192.168.122.1/24, mtu: 1500, ports: [{name: p, device: d}]}]\n",
      "f.yaml", options);
  ASSERT_TRUE(config);
  origins["networks[0].ports[0]"] = Origin::Script;
  origins["networks[0].nat.addresses"] = Origin::File;
  origins["networks[0].nat.addresses[0]"] = Origin::PersistentScript;
  const std::string text = dump_config(*config, origins);
  for (const char* line :
       {"  mtu: 1500  # default\n", "    mtu: 1500\n", "relay: true, limit: common}  # script\n",
        "addresses: [203.0.113.2]  # 203.0.113.2: script, persistent\n", "reserved_ports: []  # default\n",
        "  device: \"eth0\"\n"})
    EXPECT_NE(text.find(line), text.npos) << line << " in\n" << text;
  EXPECT_EQ(config_of(text), *config) << "comments are no part of it";
}

TEST(Yaml, IsTheSameAfterBeingWrittenAndReadAgain) {
  const auto node = read_yaml("a: [1, {b: , c: \"x: \\n\\t\\\"y\"}]\n'e f': ''\n");
  ASSERT_TRUE(node);
  const std::string text = write_yaml(*node);
  EXPECT_EQ(text.find('\n'), text.npos) << text;
  EXPECT_TRUE(same_content(*read_yaml(text), *node)) << text;
}

struct TwoMembers {
  unsigned with_a_row = 0;
  std::optional<std::string> without;
};

}  // namespace

template <>
inline constexpr auto kKeys<TwoMembers> =
    std::tuple{key("with_a_row", &TwoMembers::with_a_row, within<unsigned>(0, 9), "")};

namespace {

// Reload relies on it: see reload.cc.
TEST(Keys, AMemberWithoutARowDoesNotCompile) {
  EXPECT_FALSE(kHasARowForEachMember<TwoMembers>);
  EXPECT_TRUE(kHasARowForEachMember<Network>);
}

TEST(Problem, PrintsAsFileLineColumn) {
  const auto loaded = load_config_text("uplink: 1\n", "/etc/vmnat.yaml", fixed_resolvers());
  ASSERT_FALSE(loaded.has_value());
  EXPECT_EQ(to_string(loaded.error().at(1)),
            "/etc/vmnat.yaml:1:9: uplink: must be a map (key: value), not '1'");
}

TEST(Loader, ReportsAllProblemsInTheOrderOfTheFile) {
  const auto loaded = load_text(
      "control: {socket: s}\nnetworks: [{name: a, address: 1}]\nuplink: {device: eth0, address: 2}\n");
  EXPECT_EQ(problems_of(loaded),
            (std::vector<std::string>{
                "1:19: socket: 's' is not an absolute path",
                "2:31: address: '1' is not an address with its prefix length (write 192.168.122.1/24)",
                "3:33: address: '2' is not an address with its prefix length (write 192.168.122.1/24)"}));
}

TEST(Loader, SaysWhyAFileCannotBeRead) {
  const auto missing = load_config("/nonexistent/vmnat.yaml");
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(to_string(missing.error().at(0)),
            "/nonexistent/vmnat.yaml:1:1: cannot be read: No such file or directory");
  const auto directory = load_config("/");
  ASSERT_FALSE(directory.has_value());
  EXPECT_EQ(to_string(directory.error().at(0)), "/:1:1: cannot be read: Is a directory");
}

TEST(Loader, RefusesAliasesThatWouldFillTheMemory) {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before;
    for (int k = 0; k < 9; ++k) text += ", " + before;
    text += "]\n";
  }
  const auto lines = problems_of(load_text(text));
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_NE(lines[0].find("more than a million values"), std::string::npos) << lines[0];
}

TEST(Loader, RefusesDeepNestingInsteadOfOverflowing) {
  EXPECT_FALSE(load_text(std::string(100000, '[')).has_value());
  EXPECT_FALSE(load_text(std::string(100000, '{')).has_value());
}

TEST(NearestWord, IsOneThatAHumanWouldMean) {
  const std::vector<std::string> known{"address", "gateway", "mtu", "lease_time"};
  EXPECT_EQ(nearest_word("adress", known), "address");
  EXPECT_EQ(nearest_word("gatewya", known), "gateway");
  EXPECT_EQ(nearest_word("mut", known), "mtu");
  EXPECT_EQ(nearest_word("lease", known), "lease_time");
  EXPECT_EQ(nearest_word("colour", known), "");
}

TEST(Resolvers, AreThoseThatAVmCanReach) {
  EXPECT_EQ(usable_resolvers(
                "# comment\nsearch lab\nnameserver 127.0.0.53\nnameserver 192.0.2.1\n"
                "nameserver fe80::1%eth0\nnameserver 192.0.2.1\n nameserver\t192.0.2.2 \nnameserver\n"),
            (std::vector{Ipv4Addr::of(192, 0, 2, 1), Ipv4Addr::of(192, 0, 2, 2)}));
}

TEST(Durations, AreWrittenAsTheyAreRead) {
  for (const char* text : {"1s", "90s", "2h4m", "1d", "1d2h3m4s", "10m"}) {
    const auto value = duration(text);
    ASSERT_TRUE(value.has_value()) << text;
    EXPECT_EQ(duration(to_text(*value)), value) << text;
  }
  EXPECT_EQ(to_text(std::chrono::seconds{7440}), "2h4m");
  EXPECT_EQ(to_text(std::chrono::seconds{90}), "1m30s");
}

// Legal, and hardly meant.
TEST(Notes, NameNetworksWhoseVmsAreToldNoResolver) {
  const auto notes_of = [](const std::string& uplink, const std::string& dhcp, bool has_resolver) {
    std::vector<Problem> notes;
    LoadOptions options{.notes = &notes};
    options.resolvers = [&] {
      return has_resolver ? std::vector{Ipv4Addr::of(192, 0, 2, 53)} : std::vector<Ipv4Addr>{};
    };
    const std::string networks = "networks: [{name: a, address: 192.168.122.1/24, " + dhcp + "}]\n";
    EXPECT_TRUE(load_config_text(uplink + networks, "f.yaml", options));
    return notes;
  };
  const auto notes = notes_of(kUplink, "dhcp: {dns: host}", false);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_EQ(to_string(notes[0]).find("f.yaml:2:55: warning: dns: VMs are told no resolver"), 0u)
      << to_string(notes[0]);
  EXPECT_TRUE(notes_of(kUplink, "dhcp: {dns: host}", true).empty());
  EXPECT_TRUE(notes_of(kUplink, "dhcp: {dns: []}", false).empty()) << "as it was asked for";
  EXPECT_TRUE(notes_of(kUplink, "forward: none", false).empty());
  EXPECT_TRUE(notes_of("uplink: {device: eth0, address: dhcp}\n", "dhcp: {}", false).empty())
      << "the lease may name one";
}

}  // namespace
}  // namespace vmnat::config
