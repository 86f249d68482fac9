// SPDX-License-Identifier: Apache-2.0
// The keys of dataplane, uplink, uplinks, conntrack and control: see keys.h.
#pragma once

#include "control/config/forms.h"
#include "control/config/keys.h"
#include "control/config/keys_limit.h"

namespace vmnat::config {

inline constexpr auto kCpu = within<unsigned>(0, 1023);
inline constexpr auto kMtu = within<std::uint16_t>(68, 65535);  // from RFC 791 section 3.2 on
inline constexpr auto kQueues = within<unsigned>(1, kMostQueues);

template <>
inline constexpr auto kKeys<Dataplane> = std::tuple{
    key("workers", &Dataplane::workers,
        list(kCpu, {.word = "auto", .if_empty = "at least one CPU is needed", .is_set = true}),
        "CPUs of the packet workers, one poll-mode thread each; auto: one, on the last CPU (of the uplink's "
        "NUMA "
        "node).",
        {.example = "[1, 2]"}),
    key("control_cpu", &Dataplane::control_cpu, unless("auto", kCpu),
        "CPU of the control thread; auto: left to the kernel.", {.example = "0"}),
    key("memory", &Dataplane::memory, kByteSize, "For packet buffers and tables: 64M to 1T."),
    key("hugepages", &Dataplane::hugepages, OneOf<Hugepages>{},
        "auto: used when the machine has them; required: refuse to start without; off: not used."),
    key("idle", &Dataplane::idle, OneOf<Idle>{},
        "What a worker does when nothing comes. adaptive: sleep until woken, or up to 2 ms where a device "
        "cannot wake it; poll: always 100 % of a CPU."),
    key("eal", &Dataplane::eal, list(kAnyText), "Extra arguments for DPDK's EAL, verbatim.",
        {.example = R"(["--log-level=lib.vhost:debug"])"}),
};

inline constexpr auto kVlan = within<std::uint16_t>(1, kLastVlan);

template <>
inline constexpr auto kKeys<NamedDevice> = std::tuple{
    key("interface", &NamedDevice::name, kInterface, "The kernel's name of it.", {.is_required = true}),
    key("driver", &NamedDevice::driver, OneOf<KernelDriver>{},
        "packet: packet sockets, which bear super-frames and partial checksums; xdp: DPDK's net_af_xdp, "
        "faster for small frames alone; auto: packet."),
    key("vlan", &NamedDevice::vlan, unless("none", kVlan),
        "The port is this VLAN of the interface: its frames have the tag on the wire, and no other frames "
        "are "
        "the port's. By packet sockets one interface may be many ports, each another VLAN.",
        {.example = "5"}),
};
inline constexpr auto kNamedDevice = line_or_only(&NamedDevice::name, kDevice);

// Of the only uplink, and of each of several.
template <typename S>
inline constexpr auto kUplinkKeys = std::tuple{
    inherited_key<S>(
        "device", &Uplink::device, kNamedDevice,
        "A PCI address, a kernel interface, or DPDK devargs; \"net_vhost0,iface=/run/up.sock\" is a "
        "vhost-user socket. A kernel interface also as {interface: eth0, driver: xdp}.",
        {.example = "0000:3b:00.0", .is_required = true}),
    inherited_key<S>(
        "vlan", &Uplink::vlan, unless("none", kVlan),
        "The uplink is this VLAN of its device, whatever device that is: frames have the tag on the wire.",
        {.example = "100"}),
    inherited_key<S>(
        "address", &Uplink::address, unless("dhcp", kPrefix),
        "This gateway's address on the outside with its prefix length, or dhcp: until a lease comes, and "
        "when it is "
        "over, nothing is forwarded.",
        {.example = "203.0.113.2/24",
         .is_required = true,
         .is_live = true,
         .needs_restart =
             [](const S& running, const S& wanted) {
               return running.address.has_value() != wanted.address.has_value();
             }}),
    inherited_key<S>(
        "gateway", &Uplink::gateway, if_given(kAddress),
        "The next hop, beyond the address's network only if that is a /31 or /32; required unless address is "
        "dhcp, "
        "which also tells the gateway.",
        {.example = "203.0.113.1", .is_live = true}),
    inherited_key<S>("mac", &Uplink::mac, unless("auto", kMac),
                     "The uplink's MAC address; auto: the device's own.", {.example = "52:54:00:00:00:01"}),
    inherited_key<S>("mtu", &Uplink::mtu, kMtu, "The largest IP packet; a lease may lower it.",
                     {.is_live = true}),
    inherited_key<S>("queues", &Uplink::queues, unless("auto", kQueues),
                     "Receive queues; auto: as many as suit the workers.", {.example = "2"}),
    inherited_key<S>(
        "limit", &Uplink::limit, LineOr{"none"},
        "What all VMs together send out and get from there. When it is used up they have it in turns: who "
        "wants less "
        "than an even share gets that.",
        {.example = "{in: {rate: 1G}, out: {rate: 200M}}", .is_live = true}),
};

template <>
inline constexpr auto kKeys<Uplink> = kUplinkKeys<Uplink>;

template <>
inline constexpr auto kKeys<NamedUplink> = std::tuple_cat(
    kUplinkKeys<NamedUplink>,
    std::tuple{
        key("name", &NamedUplink::name, kName, "Unique, and no port's or network's.", {.is_required = true}),
        key("networks", &NamedUplink::networks, list(kName, {.is_set = true}),
            "Networks that go by this uplink while it can be used, and otherwise by the first one that can. "
            "A "
            "network that no list names goes by the first uplink.",
            {.example = "[default]", .is_live = true}),
        key("probe", &NamedUplink::probe, unless("none", kAddress),
            "An address that is pinged through this uplink once a second. Three that are not answered, and "
            "it "
            "cannot be used; three that are, and it can. none: its gateway's ARP tells.",
            {.example = "198.51.100.1", .is_live = true}),
    });

template <>
inline constexpr Named<NamedUplink> kNamed<NamedUplink>{
    .noun = "uplink", .name = [](const NamedUplink& uplink) { return uplink.name; }};

template <>
inline constexpr auto kKeys<VhostUser> = std::tuple{
    key("directory", &VhostUser::directory, kPath,
        "Where sockets with relative paths are. vmnatd makes it, and gives it the rights below; nobody but "
        "the "
        "owner of a file may replace it there."),
    key("owner", &VhostUser::owner, kName, "Of the directory, and of the sockets that vmnatd listens on."),
    key("group", &VhostUser::group, kName,
        "Likewise: kvm, which libvirt's QEMU is in. Where there is no such group: root's."),
    key("mode", &VhostUser::mode, kFileMode,
        "Of the directory, in octal digits. The sockets have the same, without the bits for searching."),
};

template <>
inline constexpr auto kKeys<Conntrack> = std::tuple{
    key("sessions", &Conntrack::sessions, within<std::uint32_t>(1024, 1u << 28),
        "Sessions that fit, over all workers."),
    key("survive_restart", &Conntrack::survive_restart, kBoolean,
        "Sessions go on after a restart, an upgrade or a crash: their records are kept in memory that is a "
        "file's."),
};

template <>
inline constexpr auto kKeys<Control> = std::tuple{
    key("socket", &Control::socket, kSocketPath, "The admin socket, for vmnatctl."),
    key("group", &Control::group, Scalar<std::string>{text_or_none, R"({"type": "string"})", true},
        "A group whose members may use the commands that only look; without it, root alone may.",
        {.example = "vmnat"}),
    key("admins", &Control::admins, list(kAnyText), "Users that may change, too, as root may.",
        {.example = "[alice]"}),
    key("metrics", &Control::metrics, unless("off", kEndpoint),
        "Address and port of HTTP: /metrics for Prometheus, /api/COMMAND as vmnatctl --json, and a page; or "
        "off. Who "
        "reaches it may look at everything.",
        {.example = "127.0.0.1:9469", .is_live = true}),
    key("token_file", &Control::token_file, unless("none", kPath),
        "A file with a token of 16 characters or more, which only its owner and group may read: who bears it "
        "may "
        "change things over HTTP, too.",
        {.example = "/etc/vmnat/token"}),
    key("state_dir", &Control::state_dir, kPath,
        "Where leases are kept, and what scripts have changed for good."),
};

template <>
inline constexpr auto kKeys<TranslationLog> = std::tuple{
    key("to", &TranslationLog::to, list(kLogTarget, {.most = 8, .is_set = true}),
        "Where it goes: a file of JSON lines, syslog, an IPFIX collector. Empty: there is none.",
        {.example = "[\"json:/var/log/vmnat/translations.json\"]", .is_live = true}),
    key("of", &TranslationLog::of, OneOf<LoggedUnit>{},
        "A line when each session opens and ends, or when a VM gets and returns a block of ports "
        "(nat.block_allocation).",
        {.is_live = true}),
};

template <>
inline constexpr auto kKeys<Log> = std::tuple{
    key("translations", &Log::translations, Map{},
        "Which VM had which external port, when: `vmnatctl who` answers from it."),
};

}  // namespace vmnat::config
