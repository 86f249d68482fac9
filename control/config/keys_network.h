// SPDX-License-Identifier: Apache-2.0
// The keys of networks[] and of its ports, and the sections of the file: see keys.h.
#pragma once

#include "control/config/keys_dns.h"
#include "control/config/keys_machine.h"
#include "control/config/keys_nat.h"

namespace vmnat::config {

inline bool has_device(const VmPort& port) {
  return port.device.is_given();
}
inline bool has_socket(const VmPort& port) {
  return !has_device(port);
}

template <>
inline constexpr auto kKeys<SocketAccess> = std::tuple{
    key("owner", &SocketAccess::owner, if_given(kName), "A user."),
    key("group", &SocketAccess::group, if_given(kName), "A group."),
    key("mode", &SocketAccess::mode, if_given(kFileMode), "The socket's, in octal digits."),
};

template <>
inline constexpr auto kKeys<Features> = std::tuple{
    key("without", &Features::without, list(OneOf<VirtioFeature>{}),
        "What is not offered, by QEMU's names, and what needs it.", {.example = "[packed]"}),
};

template <>
inline constexpr auto kKeys<FilterRule> = std::tuple{
    key("direction", &FilterRule::direction, OneOf<RuleDirection>{}, "in: towards the VM, or out.",
        {.is_required = true}),
    key("action", &FilterRule::action, OneOf<RuleAction>{},
        "accept, drop, or reject: dropped, and told by a TCP RST or ICMP.", {.is_required = true}),
    key("protocol", &FilterRule::protocol, unless("any", kIpProtocol), "tcp, udp, icmp, or a number."),
    key("remote", &FilterRule::remote, unless("any", kRuleRemote),
        "The other side: addresses, port:NAME, a VM of this network by its port, or network:NAME, all VMs of "
        "a "
        "network."),
    key("local_port", &FilterRule::local_port, unless("any", kPortRange),
        "The VM's port of TCP or UDP, single or a-b."),
    key("remote_port", &FilterRule::remote_port, unless("any", kPortRange), "The other side's."),
    key("icmp_type", &FilterRule::icmp_type, unless("any", within<std::uint8_t>(0, 255)),
        "Of ICMP: 8 is an echo request."),
    key("log", &FilterRule::log, kBoolean, "true: a line in the log, with a budget."),
};

template <>
inline constexpr auto kKeys<VmPort> = std::tuple{
    key("name", &VmPort::name, kName, "Unique over all networks.", {.is_required = true}),
    key("vhost_user", &VmPort::vhost_user, if_given(kVhostSocket),
        "Path of the vhost-user socket; a relative one is within vhost_user.directory."),
    key("device", &VmPort::device, kNamedDevice, "A device, as the uplink's, instead of vhost_user."),
    key("vlan", &VmPort::vlan, unless("none", kVlan),
        "The port is this VLAN of its device, as the uplink's vlan. A device that DPDK drives may be "
        "the uplink and many ports, each another VLAN and with one queue.",
        {.example = "10", .applies = has_device}),
    key("mode", &VmPort::mode, OneOf<VhostMode>{}, "client: QEMU listens on the socket; server: vmnatd does.",
        {.applies = has_socket}),
    key("access", &VmPort::access, LineOr{"common"},
        "Who may use the socket, where that is not as the section vhost_user says.",
        {.example = "{group: lab}", .default_varies = true, .applies = has_socket}),
    key("queues", &VmPort::queues, kQueues, "Queue pairs."),
    key("features", &VmPort::features, LineOr{"all"},
        "Of virtio, what the VM is offered; all: what suits the port: no control queue without several "
        "queues.",
        {.example = "{without: [packed]}", .default_varies = true, .applies = has_socket}),
    key("mac", &VmPort::mac, unless("any", kMac),
        "The VM's MAC address: nobody else may send from it; any: the one that the VM uses.",
        {.is_live = true}),
    key("address", &VmPort::address, unless("any", kAddress),
        "The VM's address: nobody else may send from it, and DHCP gives it to the VM; any: the one that it "
        "is leased.",
        {.is_live = true}),
    key("guard", &VmPort::guard, OneOf<PortGuard>{},
        "on: the VM may send from its own addresses alone, and is neither router nor DHCP server to its "
        "neighbours; off, the default for a device: only the gateway's MAC and address are out of reach.",
        {.is_live = true, .default_varies = true}),
    key("migrates_from", &VmPort::migrates_from, if_given(kName),
        "Live migration: a vhost_user port of the network whose VM may come here, by another VMM. While that "
        "port is down and this one is up, all that is the VM's is here: its leases, addresses, sessions.",
        {.is_live = true}),
    key("group", &VmPort::group, if_given(kName),
        "VMs of one group of the network reach each other, and no VMs of another group or of none.",
        {.is_live = true}),
    key("rules", &VmPort::rules, Lines{}, "As the network's rules, and before them.", {.is_live = true}),
    key("relay", &VmPort::relay, kBoolean,
        "true, the default where the guard is off: DHCP relays, and bridges under a MAC of their own, are "
        "heeded behind the port; false: they are not.",
        {.is_live = true, .default_varies = true}),
    key("limit", &VmPort::limit, LineOr{"common"},
        "What the VM gets and sends, where that is not as the network's limit says.",
        {.example = "{out: {rate: 100M, burst: 256K}}", .is_live = true, .default_varies = true}),
};
template <>
inline constexpr ExactlyOne kExactlyOne<VmPort>{"vhost_user", "device",
                                                "a port needs vhost_user (a socket) or device",
                                                "a port has vhost_user or device, not both"};

template <>
inline constexpr Named<VmPort> kNamed<VmPort>{.noun = "port",
                                              .name = [](const VmPort& port) { return port.name; },
                                              .anew = "its device is opened anew"};

inline constexpr unsigned kMostHostServices = 64;

template <>
inline constexpr auto kKeys<Host> = std::tuple{
    key("interface", &Host::interface, kInterface, "The interface that vmnatd makes on this host.",
        {.is_required = true}),
    key("services", &Host::services, list(kHostService, {.most = kMostHostServices}),
        "Ports of this host that VMs may send to, as tcp/22 or udp/5000-5100; answers to what the host "
        "begins pass anyway."),
};

template <>
inline constexpr auto kKeys<Network> = std::tuple{
    key("name", &Network::name, kName, "Letters, digits, \"-\", \"_\" and \".\"; unique.",
        {.example = "default", .is_required = true}),
    key("address", &Network::address, kPrefix,
        "The gateway's address on this network, with the prefix length (8 to 30).",
        {.example = "192.168.122.1/24", .is_required = true, .is_live = true}),
    key("mac", &Network::mac, unless("auto", kMac), "The gateway's MAC address; auto: chosen by vmnat.",
        {.example = "52:54:00:00:01:01", .is_live = true}),
    key("mtu", &Network::mtu, kMtu, "The largest IP packet; also told to VMs by DHCP (option 26).",
        {.is_live = true}),
    key("forward", &Network::forward, OneOf<Forward>{},
        "nat: VMs reach the outside, by external addresses; route: both reach each other, by the VMs' own; "
        "none: an "
        "isolated network.",
        {.is_live = true}),
    key("isolated_ports", &Network::isolated_ports, kBoolean,
        "true: VMs of this network cannot talk to each other, but for those of one group (ports[].group); "
        "they "
        "reach the gateway and what is behind it.",
        {.is_live = true}),
    key("limit", &Network::limit, LineOr{"none"},
        "What each VM gets and sends, unless its port says otherwise. What it sends too fast waits with the "
        "VM; what "
        "is for it waits here for 50 ms at most, and then is dropped.",
        {.example = "{in: {rate: 1G, burst: 256K, peak: 2G, packets: 100000}, "
                    "out: {rate: 1G, burst: 256K, peak: 2G, packets: 100000}, packets: 200000}",
         .is_live = true}),
    key("shared_limit", &Network::shared_limit, LineOr{"none"},
        "What all VMs of the network together get and send, also among themselves. When it is used up they "
        "have it in "
        "turns.",
        {.example = "{in: {rate: 2G}, out: {rate: 2G}}", .is_live = true}),
    key("host", &Network::host, LineOr{"none"},
        "This host is on the network, by an interface with the gateway's address; none: it is not.",
        {.example = "{interface: vmnat0, services: [tcp/22, udp/5000-5100]}", .is_live = true}),
    key("ports", &Network::ports, Lines{}, "The VMs' ports, each a vhost-user socket or a device.",
        {.example =
             "[{name: vm1, vhost_user: /run/vmnat/vm1.sock, mode: client, access: {owner: root, "
             "group: lab, mode: \"0660\"}, queues: 1, features: {without: [packed]}, mac: any, address: any, "
             "guard: on, group: web, rules: [{direction: in, action: drop, protocol: tcp, local_port: 25}, "
             "{direction: out, action: reject, protocol: tcp, remote: port:lab0, remote_port: 22, log: "
             "true}, "
             "{direction: in, action: drop, protocol: icmp, icmp_type: 8}], "
             "relay: false, limit: {in: {rate: 500M}, out: {rate: 100M}}}, {name: "
             "vm1b, "
             "vhost_user: /run/vmnat/vm1b.sock, migrates_from: vm1}, "
             "{name: lab0, device: veth0}, {name: lab1, device: {interface: veth1, driver: xdp, vlan: 5}}, "
             "{name: lab2, device: 0000:3b:00.1, vlan: 10}]",
         .is_live = true}),
    key("rules", &Network::rules, Lines{},
        "What VMs may begin with whom, decided by the first rule that matches when a flow opens; answers "
        "pass. "
        "Once a "
        "direction has a rule that accepts, what no rule matches is dropped in it; else it passes.",
        {.example =
             "[{direction: in, action: accept, protocol: tcp, remote: 198.51.100.0/24, local_port: 22, log: "
             "true}, "
             "{direction: in, action: accept, protocol: icmp, icmp_type: 8}, "
             "{direction: out, action: drop, protocol: udp, remote: 198.51.100.0/24, remote_port: 53}]",
         .is_live = true}),
    key("dhcp", &Network::dhcp, MapIfGiven{}, "Without this section there is no DHCP on the network.",
        {.is_live = true}),
    key("dns", &Network::dns, LineOr{"none"},
        "What the gateway answers DNS with, beside the names of leases and reservations; it does where host "
        "is "
        "given, and this section, or dhcp.dns is gateway.",
        {.example =
             "{hosts: {gw.lab.example: 192.168.122.1}, txt: {lab.example: \"a lab\"}, srv: [{service: "
             "ldap, protocol: tcp, domain: lab.example, target: web1.lab.example, port: 389, priority: 0, "
             "weight: 0}], forwarders: [9.9.9.9], domain_forwarders: {corp.example: [10.0.0.53]}}",
         .is_live = true}),
    key("nat", &Network::nat, Map{}, "How the network gets out, where forward is nat.",
        {.applies = [](const Network& network) { return network.forward == Forward::Nat; }}),
};

template <>
inline constexpr auto kKeys<Config> = std::tuple{
    key("dataplane", &Config::dataplane, Map{}, "Workers and memory."),
    key("uplink", &Config::uplink, Map{}, "The side of the Internet. This, or uplinks.",
        {.applies = [](const Config& config) { return config.uplinks.empty(); }}),
    key("uplinks", &Config::uplinks, Lines{},
        "Several, 8 at most, in place of uplink. A network without nat.addresses has the address of the "
        "uplink "
        "that it is on; nat.addresses, nat.static and the addresses of nat.rules go with their network.",
        {.applies = [](const Config& config) { return !config.uplinks.empty(); }}),
    key("vhost_user", &Config::vhost_user, Map{}, "The VMs' vhost-user sockets, and who may use them."),
    key("networks", &Config::networks, Blocks{.if_empty = "at least one network is needed"},
        "At least one. VMs of one network reach each other directly.",
        {.is_required = true, .is_live = true}),
    key("conntrack", &Config::conntrack, Map{}, "The session table."),
    key("control", &Config::control, Map{}, "What operators and tools meet."),
    key("log", &Config::log, Map{}, "Logs beside the one on standard error."),
};

}  // namespace vmnat::config
