// SPDX-License-Identifier: Apache-2.0
// What the doctor can find, a row each: its id, how bad it is, what it means, and the command that mends it.
//
// The ids are part of the interface. docs/doctor.md is made from these rows, and a test holds it equal; another one
// plants every row. Words in braces are filled in where a check finds something: `found` does not compile for an id
// that has no row.
//
//   error    something does not work, or will not
//   warning  it works, and slower, or not for long, or not for everybody
//   note     it could be better; nothing was "found" for the exit code
#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

namespace vmnat::doctor {

enum class Severity { Error, Warning, Note };
constexpr std::string_view to_word(Severity severity) {
  return severity == Severity::Error ? "error" : severity == Severity::Warning ? "warning" : "note";
}

struct Row {
  std::string_view id;
  Severity severity;
  std::string_view means;
  std::string_view mend;
};

// clang-format off
inline constexpr Row kDaemonRows[] = {
  {"daemon-not-running", Severity::Error, "Nobody answers at the admin socket: VMs have no gateway. What follows was found without vmnatd.", "systemctl start vmnat; journalctl -u vmnat -e    # or by hand: vmnatd --config {file}"},
  {"daemon-silent", Severity::Error, "vmnatd takes the question and does not answer it: its control thread stands still, and nothing is learned, leased or changed.", "systemctl restart vmnat    # sessions survive"},
  {"config-invalid", Severity::Error, "vmnatd does not start with this file, and does not reload it.", "vmnatd --check --config {file}    # until it says nothing"},
  {"admin-group-unknown", Severity::Error, "control.group or control.admins name somebody whom this machine does not know: vmnatd does not start.", "groupadd --system {name}    # or take it out of the file"},
  {"admin-socket-closed", Severity::Warning, "A directory on the way to the admin socket keeps out control.group, which is to look.", "chmod g+x {directory} && chgrp {group} {directory}"},
  {"state-dir-unwritable", Severity::Error, "Leases, reservations and the edits of scripts cannot be kept: they are lost with the process.", "install -d -m 0700 -o {user} {directory}"},
  {"state-dir-full", Severity::Warning, "The file system of control.state_dir is nearly full: leases will go on from memory, and be lost in a restart.", "df {directory}; du -xh {directory} | sort -h | tail"},
  {"leases-not-kept", Severity::Error, "Leases go on from memory: VMs lose their addresses when vmnatd ends before they are written.", "df {directory}; ls -ld {directory}"},
  {"metrics-open", Severity::Warning, "Whoever reaches this address may look at every session, lease and address.", "In the file: control: {{metrics: \"127.0.0.1:{port}\"}}; then: vmnatctl reload"},
  {"token-in-clear", Severity::Warning, "The token that allows changes crosses a network unencrypted.", "In the file: control: {{metrics: \"127.0.0.1:{port}\"}}, behind a proxy with TLS; then: vmnatctl reload"},
  {"processes-hidden", Severity::Note, "Whether VMMs are given the right mode of a socket, and share their VM's memory, could not be looked up: their command lines are hidden from who was asked.", "vmnatctl doctor --offline    # as root"},
};

inline constexpr Row kMemoryRows[] = {
  {"hugepages-missing", Severity::Error, "dataplane.hugepages is `required`, and fewer are free: vmnatd does not start.", "sysctl vm.nr_hugepages={pages}"},
  {"hugepages-none-free", Severity::Note, "Packet buffers lie in ordinary pages: each frame costs more misses of the TLB.", "sysctl vm.nr_hugepages={pages} && systemctl restart vmnat"},
  {"transparent-hugepages-off", Severity::Note, "Session tables lie in ordinary pages: with many sessions each frame costs more misses of the TLB.", "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled && systemctl restart vmnat"},
  {"memory-short", Severity::Error, "Packet buffers and tables do not fit into the memory that is available.", "In the file: dataplane: {{memory: {fits}M}}"},
  {"limit-memlock", Severity::Error, "A NIC by VFIO and AF_XDP lock packet buffers; the limit of locked memory does not let them.", "systemctl edit vmnat    # [Service] LimitMEMLOCK=infinity; by hand: ulimit -l unlimited"},
  {"limit-nofile", Severity::Error, "There are not enough file descriptors for all rings of all VMs: the last VMs are not served.", "systemctl edit vmnat    # [Service] LimitNOFILE={wanted}; by hand: ulimit -n {wanted}"},
  {"map-count-low", Severity::Warning, "Memory of guests and tables is mapped in pieces, and the kernel allows few: VMs may be refused.", "sysctl vm.max_map_count=65530"},
  {"overcommit-strict", Severity::Error, "Tables are reserved as address space that fills later; with vm.overcommit_memory=2 all of it counts at once, and may be refused.", "sysctl vm.overcommit_memory=0"},
};

inline constexpr Row kCpuRows[] = {
  {"worker-cpu-absent", Severity::Error, "A worker or the control thread is to run on a CPU that is not there, or offline: vmnatd does not start.", "In the file: dataplane: {{{key}: {cpus}}}    # or: chcpu -e {cpu}"},
  {"worker-cpu-forbidden", Severity::Error, "The CPU is there, but cpusets or taskset keep this process from it: vmnatd does not start.", "systemctl edit vmnat    # [Service] AllowedCPUs="},
  {"worker-cpu-shared", Severity::Warning, "Two threads that are always there share a CPU: while one runs, frames wait for the other.", "In the file: fewer CPUs for {key}; then: systemctl restart vmnat"},
  {"worker-cpu-sibling", Severity::Note, "Two workers run on the hyperthreads of one core, and share its caches and units.", "In the file: dataplane: {{workers: [...]}} with one thread a core: lscpu --extended=CPU,CORE"},
  {"worker-cpu-not-isolated", Severity::Note, "The scheduler may put others on the worker's CPU: frames wait meanwhile, for milliseconds.", "Kernel command line: isolcpus={cpu} nohz_full={cpu} rcu_nocbs={cpu}; then reboot"},
  {"worker-cpu-ticks", Severity::Note, "The kernel's timer interrupts the worker up to 1000 times a second.", "Kernel command line: nohz_full={cpu} rcu_nocbs={cpu}; then reboot"},
  {"cpu-governor", Severity::Note, "The CPU's clock falls while the worker rests, and takes some time to rise.", "cpupower --cpu {cpu} frequency-set --governor performance"},
  {"worker-preempted", Severity::Note, "Others run on the worker's CPU: each time frames wait for as long as they run.", "ps -eLo psr,pid,comm | awk '$1=={cpu}'    # who they are; then isolate the CPU"},
  {"kernel-too-old", Severity::Error, "The kernel lacks what the configuration needs.", "apt install linux-image-amd64 && reboot"},
  {"kernel-slow-pages", Severity::Note, "Before Linux 5.14 pages of tables cannot be touched ahead: workers wait for them as tables grow.", "apt install linux-image-amd64 && reboot"},
};

inline constexpr Row kNicRows[] = {
  {"nic-absent", Severity::Error, "There is no PCI device at this address: vmnatd does not start.", "lspci -D | grep -i ethernet    # and in the file: the address that it has"},
  {"nic-driver", Severity::Error, "The NIC is the kernel's, or nobody's: DPDK drives it by vfio-pci only.", "modprobe vfio-pci && dpdk-devbind.py --bind=vfio-pci {device}"},
  {"iommu-missing", Severity::Error, "The NIC is bound to vfio-pci, but there is no IOMMU: VFIO does not give it to anybody.", "Kernel command line: intel_iommu=on iommu=pt (AMD: amd_iommu=on), VT-d on in the firmware; then reboot"},
  {"iommu-bypassed", Severity::Warning, "The NIC can write to all of the host's memory: nothing holds its DMA to packet buffers.", "Kernel command line: intel_iommu=on iommu=pt; then: dpdk-devbind.py --bind=vfio-pci {device}"},
  {"vfio-forbidden", Severity::Error, "vmnatd may not open the NIC's VFIO group.", "chown {user} {file}    # for good: a udev rule, SUBSYSTEM==\"vfio\", OWNER=\"{user}\""},
  {"nic-numa-apart", Severity::Warning, "Each frame crosses between two memory nodes.", "In the file: dataplane: {{workers: [...]}} with CPUs of NUMA node {node}: lscpu --extended=CPU,NODE"},
};

inline constexpr Row kInterfaceRows[] = {
  {"interface-absent", Severity::Error, "The kernel has no such interface, in the namespace that was looked at: vmnatd does not start.", "ip -brief link    # and in the file: the name that it has"},
  {"interface-down", Severity::Error, "Somebody has put the interface down under vmnatd: no frame passes.", "ip link set {interface} up"},
  {"interface-no-carrier", Severity::Warning, "The other end is down, or there is no cable: no frame passes.", "ip -details link show {interface}    # and the other end: ip link set PEER up"},
  {"interface-mtu-small", Severity::Warning, "The interface bears smaller frames than VMs are told to send: large packets are fragmented or refused.", "ip link set {interface} mtu {mtu}"},
  {"interface-in-bridge", Severity::Warning, "A bridge takes the interface's frames, too: the kernel's network and vmnat's become one, with two gateways.", "ip link set {interface} nomaster"},
  {"interface-has-address", Severity::Note, "The kernel answers and sends on the interface beside vmnat, from an address of its own. No harm if that is meant.", "ip address flush dev {interface}"},
  {"veth-checksum", Severity::Error, "The other end leaves checksums to a NIC that is not there; AF_XDP and DPDK's net_af_packet do not see that, and pass broken TCP and UDP on.", "ethtool -K {peer} tx off    # or in the file: driver: packet"},
  {"tun-unusable", Severity::Error, "/dev/net/tun cannot be opened: there will be no interface of this host on the network.", "modprobe tun; ls -l /dev/net/tun"},
};

inline constexpr Row kSocketRows[] = {
  {"socket-directory-closed", Severity::Error, "QEMU's group cannot use the socket: a directory on the way is closed to it, or it cannot make the socket there.", "chgrp {group} {directory} && chmod {mode} {directory}"},
  {"socket-unusable", Severity::Error, "vmnatd is to connect here (mode: client), and cannot: the VM has no network.", "ls -l {socket}    # QEMU makes it: umask 0007, and group {group}; remove what is no socket"},
  {"socket-rights-differ", Severity::Warning, "The socket that vmnatd has made is not what the file says: VMMs may be refused.", "chgrp {group} {socket} && chmod {mode} {socket}"},
  {"both-listen", Severity::Error, "vmnatd and the VMM both listen on the socket (mode: server, and server=on): nobody connects.", "In the file: port {port}: mode: client; or QEMU's chardev without server=on: vmnatctl qemu-args {port}"},
  {"both-connect", Severity::Error, "vmnatd and the VMM both connect to the socket (mode: client, and no server=on): nobody listens.", "In the file: port {port}: mode: server; or QEMU's chardev with server=on,wait=off: vmnatctl qemu-args {port}"},
  {"qemu-outside-group", Severity::Error, "libvirt's QEMU runs as a user that is not in the sockets' group: it cannot use them.", "usermod --append --groups {group} {user}    # or in the file: vhost_user: {{group: {primary}}}"},
  {"apparmor-qemu", Severity::Note, "AppArmor lets libvirt's QEMU use sockets of <interface type='vhostuser'> alone, and refuses those of qemu:commandline.", "vmnatctl libvirt-xml PORT    # the interface as it passes"},
  {"vm-memory-not-shared", Severity::Error, "The VM's memory is not shared: vmnatd cannot see its rings, and no frame passes.", "QEMU: -object memory-backend-memfd,id=mem,size=SIZE,share=on -numa node,memdev=mem    # libvirt: vmnatctl libvirt-xml {port}"},
};

inline constexpr Row kGuestRows[] = {
  {"vm-takes-nothing", Severity::Warning, "The VM is up, has sent no frame and given no buffer for one: its interface is down, or vmnatd does not see the memory that it writes to.", "In the VM: ip link set eth0 up    # else share=on: vmnatctl qemu-args {port}"},
  {"vm-sends-nothing", Severity::Warning, "The VM is up and has sent no frame: it is not configured, its memory is not shared, or its driver does not work with the features that it has agreed to.", "In the VM: dhclient eth0; on this host: vmnatctl capture --port {port} --write -; in the file: features: {{without: [...]}}"},
  {"vm-second-connection", Severity::Warning, "A second VMM has tried the socket of a VM that is served: two VMs are given one port.", "ss -xp | grep {socket}    # who they are; vmnatctl port add another"},
  {"vmm-messages-refused", Severity::Warning, "A VMM says what makes no sense or could do harm: it is broken, or taken over.", "journalctl -u vmnat -g 'is refused'"},
  {"vm-spoofs", Severity::Warning, "The VM sends from a MAC or an address that is not its port's, and nothing of it passes: mostly an address set by hand.", "vmnatctl ports    # OWNS; in the file: port {port}: address: A.B.C.D; or DHCP in the VM"},
  {"vm-over-budget", Severity::Warning, "The VM asks more of control than its share (unknown hosts, DHCP, ARP): the excess is dropped, others are served.", "vmnatctl trace --port {port} --count 10    # what it sends"},
};

inline constexpr Row kNetworkRows[] = {
  {"subnet-on-route", Severity::Warning, "The host has a route to the network's subnet elsewhere: VMs cannot reach the hosts there, and with `host` vmnatd does not start.", "ip route show {to}    # or in the file another subnet: networks: {network}: address"},
  {"libvirt-network-up", Severity::Error, "libvirt's network of the same subnet is still up, with a gateway and a DHCP server of its own.", "virsh net-destroy {name}; virsh net-autostart --disable {name}"},
  {"dns-port-taken", Severity::Error, "Another program serves DNS on the gateway's address: VMs get its answers, or none.", "ss -lnup 'sport = :53'    # who it is; libvirt's: virsh net-destroy default"},
  {"dns-program-missing", Severity::Error, "The network is to have DNS, and dnsmasq is not installed: VMs are told the host's resolvers.", "apt install dnsmasq-base"},
  {"apparmor-dnsmasq", Severity::Warning, "AppArmor's profile of dnsmasq does not know vmnat's files: names of leases are not served.", "aa-complain /usr/sbin/dnsmasq"},
  {"resolver-on-loopback", Severity::Warning, "The host's resolver is on its loopback, where no VM reaches it, and no other is known: VMs are told none.", "In the file: networks: {network}: dhcp: {{dns: [9.9.9.9]}}    # or `host`, and dns: gateway"},
  {"dhcp-pool-nearly-used", Severity::Warning, "Nearly all addresses for DHCP are leased: the next VMs get none.", "In the file: more dhcp.ranges, or a shorter lease_time; vmnatctl leases"},
  {"sessions-refused", Severity::Warning, "VMs are refused new sessions, for want of ports or records, or by a limit.", "vmnatctl exhaustion    # who, and why; vmnatctl pool add ADDRESS for no_port"},
};

inline constexpr Row kUplinkRows[] = {
  {"uplink-down", Severity::Error, "The uplink has no link: no VM reaches anything outside.", "vmnatctl status; ip link show {device}"},
  {"uplink-dead", Severity::Error, "The uplink cannot be used; networks that prefer it go by another one, if one can be used.", "vmnatctl uplinks; vmnatctl capture --port {name} --filter 'arp or icmp' --write - | tcpdump -nr -"},
  {"uplink-no-lease", Severity::Error, "The uplink has no address: no DHCP server has given one, and nothing is forwarded.", "vmnatctl capture --port uplink --filter 'port 67 or port 68' --write - | tcpdump -r -"},
  {"gateway-silent", Severity::Error, "The uplink's router does not answer ARP: no VM reaches anything beyond the uplink's link.", "vmnatctl capture --port uplink --filter arp --write - | tcpdump -nr -    # is {gateway} right, and on this link?"},
  {"uplink-address-on-host", Severity::Error, "The kernel has an address of vmnat's, too: it answers ARP for it, and resets VMs' connections.", "ip address del {address} dev {interface}"},
  {"uplink-address-claimed", Severity::Error, "Another station says that it has an address of vmnat's: perhaps a second vmnatd. Replies go to either.", "arping -D -I {device} {address}    # from another host: who answers"},
  {"uplink-forwarded-by-host", Severity::Warning, "The kernel forwards what comes for vmnat's address, beside vmnat: remotes see packets twice, and redirects.", "sysctl net.ipv4.conf.{interface}.forwarding=0"},
};

inline constexpr Row kClockRows[] = {
  {"clock-stepped", Severity::Warning, "The wall clock has jumped: leases and what was logged before say another time.", "chronyc tracking    # and what sets the clock: journalctl -g 'time has been changed'"},
  {"clock-unset", Severity::Warning, "The wall clock is years behind: leases of before a restart look as if they were given in the future.", "timedatectl set-ntp true"},
  {"clock-unsynchronised", Severity::Note, "Nobody keeps the wall clock right: times of leases and logs drift.", "apt install chrony"},
};
// clang-format on

struct Section {
  std::string_view title;
  std::span<const Row> rows;
};
inline constexpr Section kSections[] = {
    {"vmnatd itself", kDaemonRows},
    {"Memory and limits", kMemoryRows},
    {"CPUs and the kernel", kCpuRows},
    {"NICs of DPDK", kNicRows},
    {"Interfaces of the kernel", kInterfaceRows},
    {"Sockets of VMs", kSocketRows},
    {"VMs", kGuestRows},
    {"Networks", kNetworkRows},
    {"The uplink", kUplinkRows},
    {"Clocks", kClockRows},
};

// nullptr: there is none.
constexpr const Row* find_row(std::string_view id) {
  for (const Section& section : kSections)
    for (const Row& row : section.rows)
      if (row.id == id) return &row;
  return nullptr;
}

}  // namespace vmnat::doctor
