// SPDX-License-Identifier: Apache-2.0
// What a configuration file says, as types: one structure per section, one member per key.
//
// Each member has a row in keys_*.h: the key's name, form and documentation. The member's initialiser is the
// key's default. Defaults that depend on something else are filled in when the file is loaded (defaults.h),
// so that a Config from load_config() is the effective one. No policy here: what a value does is decided by
// its reader.
//
// Example: `networks: [{name: default, address: 192.168.122.1/24, ports: []}]` is one Network whose
// `nat` has the addresses {uplink, uplink}, ports 1024-65535 and endpoint-independent mapping.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/address.h"
#include "net/wire.h"

namespace vmnat::config {

struct ByteSize {
  std::uint64_t bytes = 0;
  static constexpr ByteSize mebibytes(std::uint64_t count) { return ByteSize{count << 20}; }
  auto operator<=>(const ByteSize&) const = default;
};

struct BitRate {
  std::uint64_t per_second = 0;
  auto operator<=>(const BitRate&) const = default;
};

// Permission bits, as chmod(1) has them: 0770.
struct FileMode {
  unsigned bits = 0;
  bool operator==(const FileMode&) const = default;
};

// Both ends belong to the range; first <= last.
struct AddressRange {
  net::Ipv4Addr first, last;
  [[nodiscard]] bool contains(net::Ipv4Addr a) const { return first <= a && a <= last; }
  [[nodiscard]] bool overlaps(const AddressRange& o) const { return first <= o.last && o.first <= last; }
  [[nodiscard]] std::uint64_t size() const { return std::uint64_t{last.host()} - first.host() + 1; }
  bool operator==(const AddressRange&) const = default;
};
struct PortRange {
  net::L4Port first, last;
  static constexpr PortRange of(std::uint16_t first, std::uint16_t last) {
    return {net::L4Port::from_host(first), net::L4Port::from_host(last)};
  }
  [[nodiscard]] bool contains(net::L4Port p) const { return first <= p && p <= last; }
  [[nodiscard]] unsigned size() const { return last.host() - first.host() + 1u; }
  bool operator==(const PortRange&) const = default;
};

enum class Hugepages { Auto, Required, Off };
enum class Idle { Adaptive, Poll };             // what a worker does when nothing comes: sleeps, or polls on
enum class Forward { Nat, Route, None };        // Route: VMs go out, and are reached, by their own addresses
enum class KernelDriver { Auto, Packet, Xdp };  // of a kernel interface; Auto: Packet
enum class VhostMode { Client, Server };        // Client: QEMU listens on the socket; Server: vmnatd does
enum class Mapping { EndpointIndependent, EndpointDependent };  // RFC 4787 section 4.1
enum class Filtering {
  EndpointIndependent,
  AddressDependent,
  AddressAndPortDependent
};  // RFC 4787 section 5

// What is answered by ICMP when no session is to be had.
enum class ExhaustionIcmp { AdminProhibited, HostUnreachable, Off };

// What becomes of TCP without a session that is no SYN.
enum class TcpMidStream { Reset, Drop, PickUp };

struct Dataplane {
  std::vector<unsigned> workers;  // CPU ids; empty: one worker, on the last CPU of the uplink's NUMA node
  std::optional<unsigned> control_cpu;
  ByteSize memory = ByteSize::mebibytes(512);
  Hugepages hugepages = Hugepages::Auto;
  Idle idle = Idle::Adaptive;
  std::vector<std::string> eal;
  bool operator==(const Dataplane&) const = default;
};

// A device as the file names it.
struct NamedDevice {
  std::string name;                          // PCI address, kernel interface or DPDK devargs; empty: none
  KernelDriver driver = KernelDriver::Auto;  // of a kernel interface; else nothing
  std::optional<std::uint16_t> vlan;         // of a kernel interface, 1 to 4094; nothing: all of it
  [[nodiscard]] bool is_given() const { return !name.empty(); }
  bool operator==(const NamedDevice&) const = default;
};

// What may pass in one direction; nothing of it given: all.
struct RateLimit {
  std::optional<BitRate> rate;
  std::optional<ByteSize> burst;         // nothing: what the rate brings in 10 ms, 16K at least
  std::optional<BitRate> peak;           // of the burst; nothing: as fast as it comes
  std::optional<std::uint32_t> packets;  // a second
  bool operator==(const RateLimit&) const = default;
};
// Towards VMs, and from them. Nothing: as a section says that this one stands before, or all.
struct RateLimits {
  std::optional<RateLimit> in, out;
  std::optional<std::uint32_t> packets;  // a second, of each direction that says none itself
  bool operator==(const RateLimits&) const = default;
};

struct Uplink {
  NamedDevice device;
  std::optional<std::uint16_t> vlan;       // of a device of any kind, unless `device` says one itself
  std::optional<net::Ipv4Prefix> address;  // nothing: from DHCP, and so is the gateway
  std::optional<net::Ipv4Addr> gateway;
  std::optional<net::MacAddr> mac;  // nothing: the device's own
  std::uint16_t mtu = 1500;
  std::optional<unsigned> queues;   // nothing: as many as suit the workers
  std::optional<RateLimits> limit;  // of all VMs together
  bool operator==(const Uplink&) const = default;
};
// One of several.
struct NamedUplink : Uplink {
  std::string name;
  std::vector<std::string> networks;   // that are on it while it can be used
  std::optional<net::Ipv4Addr> probe;  // nothing: the gateway's ARP tells whether it can be used
  bool operator==(const NamedUplink&) const = default;
};

// The directory of the VMs' sockets. `mode` is the directory's; a socket has it without the bits for searching.
struct VhostUser {
  std::string directory = "/run/vmnat";  // what a relative path of a socket is within
  std::string owner = "root";
  std::string group = "kvm";  // where there is no such group: root's
  FileMode mode{0770};
  bool operator==(const VhostUser&) const = default;
};

// Of a virtio network device, by its bit (virtio 1.1, 5.1.3 and 6).
enum class VirtioFeature : std::uint8_t {
  Csum = 0,
  GuestCsum = 1,
  Mtu = 3,
  Gso = 6,
  GuestTso4 = 7,
  GuestTso6 = 8,
  GuestEcn = 9,
  HostTso4 = 11,
  HostTso6 = 12,
  HostEcn = 13,
  MrgRxbuf = 15,
  CtrlVq = 17,
  CtrlRx = 18,
  CtrlVlan = 19,
  CtrlRxExtra = 20,
  GuestAnnounce = 21,
  Mq = 22,
  CtrlMacAddr = 23,
  IndirectDesc = 28,
  EventIdx = 29,
  Version1 = 32,
  IommuPlatform = 33,
  Packed = 34,
  InOrder = 35,
};

// What a port does not offer to its VM, besides what it never does.
struct Features {
  std::vector<VirtioFeature> without;
  bool operator==(const Features&) const = default;
};

// What a port says of its own socket; empty, or nothing: as the section vhost_user says.
struct SocketAccess {
  std::string owner, group;
  std::optional<FileMode> mode;
  bool operator==(const SocketAccess&) const = default;
};

// As a VM sees it: In is towards it.
enum class RuleDirection { In, Out };
enum class RuleAction { Accept, Drop, Reject };

// Who is on the other side of a VM's flow.
struct RuleRemote {
  enum class Kind { Prefix, Port, Network };  // Port: a VM's; Network: all VMs of it
  Kind kind = Kind::Prefix;
  net::Ipv4Prefix prefix;  // of Prefix
  std::string name;        // of the others
  bool operator==(const RuleRemote&) const = default;
};

inline constexpr std::size_t kMostRules = 65'536;  // of all networks

// What becomes of a VM's new flows that match all that is given.
struct FilterRule {
  RuleDirection direction = RuleDirection::In;
  RuleAction action = RuleAction::Accept;
  std::optional<net::Protocol> protocol;
  std::optional<RuleRemote> remote;
  std::optional<PortRange> local_port, remote_port;  // of TCP and UDP; the local one is the VM's
  std::optional<std::uint8_t> icmp_type;
  bool log = false;
  bool operator==(const FilterRule&) const = default;
};

// Is a VM held against the addresses that its port owns?
enum class PortGuard { On, Off };

// A port that a VM is on: exactly one of `vhost_user` (a socket's path) and `device` is given.
struct VmPort {
  std::string name;
  std::string vhost_user;  // absolute once defaults are filled in
  NamedDevice device;
  std::optional<std::uint16_t> vlan;  // of a device of any kind, unless `device` says one itself
  VhostMode mode = VhostMode::Client;
  std::optional<SocketAccess> access;  // nothing: as the section vhost_user says
  unsigned queues = 1;
  std::optional<Features> features;      // nothing: all that suits the port
  std::optional<net::MacAddr> mac;       // the VM's; nothing: any
  std::optional<net::Ipv4Addr> address;  // likewise
  PortGuard guard = PortGuard::On;       // of a device, which may lead to more than a VM: Off
  std::string migrates_from;             // a port of the network whose VM may come here; empty: none
  std::string group;                     // of VMs that reach each other within the network; empty: none
  std::vector<FilterRule> rules;         // before those of the network
  bool relay = false;  // DHCP for others than the sender is heeded; by default where the guard is off
  std::optional<RateLimits> limit;  // of a direction that is not given: the network's
  bool operator==(const VmPort&) const = default;
};

inline constexpr std::chrono::seconds kInfiniteLease{0xffffffff};  // RFC 2131 section 3.3

struct DhcpRoute {
  net::Ipv4Prefix to;
  net::Ipv4Addr via;
  bool operator==(const DhcpRoute&) const = default;
};
// Which resolvers VMs are told.
enum class DnsSource { Host, Gateway, Listed };
struct ToldResolvers {
  DnsSource from = DnsSource::Host;
  // Listed: these. Else those of this host, that are told by Host, and by Gateway while it serves no DNS; those that
  // the uplink's lease names go before them.
  std::vector<net::Ipv4Addr> servers;
  bool operator==(const ToldResolvers&) const = default;
};
enum class Identity { Mac, Port, ClientId };  // by what DHCP tells one client from another

struct DhcpBootFile {
  std::uint16_t arch = 0;  // RFC 4578 section 2.1: 0 BIOS, 7 and 9 x86-64 EFI, 11 ARM64 EFI
  std::string file;
  bool operator==(const DhcpBootFile&) const = default;
};
struct DhcpBoot {
  net::Ipv4Addr server;
  std::string file;  // for clients that no entry of by_arch fits
  std::string ipxe;  // for iPXE, whatever its architecture; empty: as for others
  std::vector<DhcpBootFile> by_arch;
  bool operator==(const DhcpBoot&) const = default;
};
struct DhcpOption {
  std::uint8_t code = 0;
  std::string bytes;  // as sent
  bool operator==(const DhcpOption&) const = default;
};
// For a MAC or for whoever is on a port: exactly one of the two is given.
struct Reservation {
  std::optional<net::MacAddr> mac;
  std::string port;
  net::Ipv4Addr address;
  std::string hostname;  // empty: none
  bool operator==(const Reservation&) const = default;
};
// Files that are kept equal to the leases.
struct DhcpExports {
  std::optional<std::string> dnsmasq, libvirt;
  bool operator==(const DhcpExports&) const = default;
};
// For each port; 0: none, nothing: by what the port is (see dhcp_limits).
struct DhcpLimits {
  std::optional<std::uint32_t> leases_per_port, messages_per_second;
  bool operator==(const DhcpLimits&) const = default;
};
struct Dhcp {
  // The gateway's address may lie within; it is never leased.
  std::vector<AddressRange> ranges;
  std::chrono::seconds lease_time = std::chrono::hours{1};  // or kInfiniteLease
  ToldResolvers dns;
  std::string domain;
  std::vector<std::string> search;
  std::vector<net::Ipv4Addr> ntp;
  std::vector<DhcpRoute> routes;
  std::optional<DhcpBoot> boot;
  std::vector<DhcpOption> options;
  std::vector<Reservation> reservations;
  Identity identity = Identity::Mac;
  bool check_before_offer = true;  // ARP, for addresses that nobody is known to have had
  DhcpLimits limits;
  DhcpExports exports;
  bool operator==(const Dhcp&) const = default;
};

struct Timeouts {
  std::chrono::seconds tcp_established = std::chrono::minutes{124};  // RFC 5382 REQ-5: not less
  std::chrono::seconds tcp_transitory = std::chrono::minutes{4};     // RFC 5382 REQ-5: not less
  std::chrono::seconds udp = std::chrono::minutes{5};                // RFC 4787 REQ-5: 5 min recommended
  std::chrono::seconds udp_answered{30};                             // RFC 4787 REQ-5a; no longer than `udp`
  std::chrono::seconds icmp{60};                                     // RFC 5508 REQ-1: not less
  std::chrono::seconds other = std::chrono::minutes{10};
  bool operator==(const Timeouts&) const = default;
};
struct Limits {
  std::uint32_t sessions_per_port = 0;        // 0: none
  std::uint32_t new_sessions_per_second = 0;  // per VM port; 0: none
  bool operator==(const Limits&) const = default;
};
struct PortForward {
  net::Protocol protocol = net::Protocol::Tcp;  // Tcp or Udp
  std::optional<net::Ipv4Addr> address;         // nothing: every external address of the network
  PortRange port;
  std::vector<net::Endpoint> to;  // of the first port, the others in order; of several one serves each remote
  std::optional<net::Ipv4Prefix> from;  // remotes; nothing: any
  bool operator==(const PortForward&) const = default;
};
// An external address that is one VM's alone, with all protocols and ports.
struct StaticNat {
  net::Ipv4Addr internal, external;
  bool operator==(const StaticNat&) const = default;
};
// Which external addresses flows from these VMs to those destinations have; the first rule that fits.
struct NatRule {
  std::optional<net::Ipv4Prefix> from, to;  // nothing: any
  std::vector<AddressRange> addresses;      // none: they are not translated
  bool operator==(const NatRule&) const = default;
};
struct Nat {
  std::vector<AddressRange> addresses;  // empty: that of the uplink which it is on, or DHCP will tell it
  std::vector<AddressRange> drain;      // of these: no new session gets them
  PortRange ports = PortRange::of(1024, 65535);
  std::vector<PortRange> reserved_ports;
  Mapping mapping = Mapping::EndpointIndependent;
  Filtering filtering = Filtering::AddressAndPortDependent;
  bool overload = true;
  std::uint16_t block_allocation = 0;  // ports that a VM gets at a time; 0: singly
  TcpMidStream tcp_mid_stream = TcpMidStream::Reset;
  std::optional<std::uint16_t> mss_clamp;  // nothing: what the MTUs leave; 0: off
  ExhaustionIcmp exhaustion_icmp = ExhaustionIcmp::AdminProhibited;
  Timeouts timeouts;
  Limits limits;
  std::vector<StaticNat> static_nat;
  std::vector<NatRule> rules;
  std::vector<PortForward> forwards;
  bool operator==(const Nat&) const = default;
};

// A service of the host, or several next to each other.
struct HostService {
  net::Protocol protocol = net::Protocol::Tcp;  // Tcp or Udp
  PortRange ports;
  bool operator==(const HostService&) const = default;
};
// The machine that vmnat runs on, as a station of the network with the gateway's address.
struct Host {
  std::string interface;              // a TAP that vmnatd makes
  std::vector<HostService> services;  // that VMs may use
  bool operator==(const Host&) const = default;
};

// What a map of the file holds under a key that is a name.
template <typename T>
struct Entry {
  std::string name;
  T value{};
  bool operator==(const Entry&) const = default;
};

struct DnsSrv {  // RFC 2782
  std::string service;
  net::Protocol protocol = net::Protocol::Tcp;
  std::string domain;  // empty: the network's
  std::string target;
  net::L4Port port;
  std::uint16_t priority = 0, weight = 0;
  bool operator==(const DnsSrv&) const = default;
};
// What the gateway answers DNS with, beside the names of leases and reservations.
struct Dns {
  std::vector<Entry<net::Ipv4Addr>> hosts;
  std::vector<Entry<std::string>> txt;
  std::vector<DnsSrv> srv;
  std::vector<net::Endpoint> forwarders;  // none: the resolvers of this host
  std::vector<Entry<std::vector<net::Endpoint>>> domain_forwarders;
  bool operator==(const Dns&) const = default;
};

struct Network {
  std::string name;
  net::Ipv4Prefix address;  // the gateway's, with the network's prefix length
  std::optional<net::MacAddr> mac;
  std::uint16_t mtu = 1500;
  Forward forward = Forward::Nat;
  bool isolated_ports = false;
  std::optional<RateLimits> limit;         // of each port, by itself
  std::optional<RateLimits> shared_limit;  // of all ports together
  std::optional<Host> host;
  std::vector<VmPort> ports;
  std::vector<FilterRule> rules;  // of all its ports
  std::optional<Dhcp> dhcp;
  std::optional<Dns> dns;
  Nat nat;  // means nothing when forward is None
  bool operator==(const Network&) const = default;
};

struct Conntrack {
  std::uint32_t sessions = 1u << 20;  // over all workers
  bool survive_restart = true;
  bool operator==(const Conntrack&) const = default;
};
struct Control {
  std::string socket = "/run/vmnat/vmnat.sock";
  std::string group;                // empty: none
  std::vector<std::string> admins;  // besides root
  std::optional<net::Endpoint> metrics;
  std::optional<std::string> token_file;
  std::string state_dir = "/var/lib/vmnat";
  bool operator==(const Control&) const = default;
};

// Where lines about translations go.
struct LogTarget {
  enum class Kind { Json, Syslog, Ipfix };
  Kind kind{};
  std::string path;        // of Json
  std::string host, port;  // of the others; empty: this host's own syslog
  bool operator==(const LogTarget&) const = default;
};
enum class LoggedUnit { Sessions, Blocks };
struct TranslationLog {
  std::vector<LogTarget> to;
  LoggedUnit of = LoggedUnit::Sessions;
  bool operator==(const TranslationLog&) const = default;
};
struct Log {
  TranslationLog translations;
  bool operator==(const Log&) const = default;
};

struct Config {
  Dataplane dataplane;
  Uplink uplink;                     // the only one, or a copy of the first of several
  std::vector<NamedUplink> uplinks;  // empty: there is only one
  VhostUser vhost_user;
  std::vector<Network> networks;
  Conntrack conntrack;
  Control control;
  Log log;
  bool operator==(const Config&) const = default;
};

// The uplinks by their numbers.
std::size_t uplink_count(const Config& config);
const Uplink& uplink_at(const Config& config, std::size_t number);
// "uplink" where there is only one.
std::string uplink_name(const Config& config, std::size_t number);
// "uplink wan2": what messages call it; "uplink" where there is only one.
std::string uplink_title(const Config& config, std::size_t number);
// No lease gives an uplink its address.
bool has_fixed_addresses(const Config& config);
// Pinged through the uplink; nothing: nobody is.
std::optional<net::Ipv4Addr> probe_of(const Config& config, std::size_t number);
// That the network is on while it can be used: the first one, unless another one names the network.
std::size_t preferred_uplink(const Config& config, const std::string& network);

enum class DeviceKind { Pci, KernelInterface, Devargs };
// "0000:3b:00.0" and "3b:00.0,opt=1" are Pci, "net_vhost0,iface=/run/x" is Devargs, anything else an
// interface.
DeviceKind device_kind(std::string_view device);
// A kernel interface that DPDK does not drive.
bool is_plain_interface(std::string_view device, KernelDriver driver);
// Of "3b:00.0,opt=1": 0000:3b:00.0. Empty: it is no PCI device.
std::string pci_address(std::string_view device);
// What DPDK calls a device of its own that several ports may be VLANs of: "0000:3b:00.0", "net_tap0". Empty: it is a
// kernel interface or a socket.
std::string shareable_name(std::string_view device);
// One name for a device, however the configuration writes it: that one, or where there is none as written.
std::string canonical_name(std::string_view device);
// Of "3b:00.0,opt=1": ",opt=1".
std::string_view device_arguments(std::string_view device);
// Which VLAN of its device an uplink or a port is; nothing: all of it.
template <typename Port>
std::optional<std::uint16_t> vlan_of(const Port& port) {
  return port.device.vlan ? port.device.vlan : port.vlan;
}

// Whether the gateway is to answer DNS on the network.
bool serves_dns(const Network& network);
// Every external address of the network, in the order of the file; empty: that of the uplink which it is on, where
// there are several, or the only one's DHCP will tell.
std::vector<net::Ipv4Addr> external_addresses(const Network& network);
// The same of a list of ranges.
std::vector<net::Ipv4Addr> all_of(const std::vector<AddressRange>& ranges);
// Addresses that VMs may have: all of the network but its own address and its broadcast address.
AddressRange host_range(const net::Ipv4Prefix& network);

}  // namespace vmnat::config
