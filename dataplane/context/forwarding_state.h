// SPDX-License-Identifier: Apache-2.0
// ForwardingState: all that workers share with each other: networks, ports, policies, MAC addresses,
// neighbours.
//
// An immutable snapshot. Control builds a new one for every change, publishes it through StatePublisher,
// and frees the old one when every worker has passed a quiescent point. Workers only read, once a poll
// through one acquire load, and never lock.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/fibonacci_hash.h"
#include "base/ids.h"
#include "conntrack/conntrack.h"
#include "dataplane/context/counters.h"
#include "dataplane/context/limits.h"
#include "dataplane/context/nat_ways.h"
#include "dataplane/context/word_table.h"
#include "dataplane/device/burst_port.h"
#include "dataplane/device/offload.h"
#include "net/address.h"

namespace vmnat::dataplane {

class FilterRules;
class PollSet;
struct Watches;

// The first uplink's, and in tables of owners the gateway's. Of several the others follow: is_uplink().
inline constexpr PortIndex kUplinkPort = 0;

// How strictly a VM port's frames are checked for spoofed senders, from least to most; guard.h.
enum class Guard : std::uint8_t {
  GatewayOnly,  // no VM sends as the gateway
  Others,       // ... nor from a MAC or address that another port owns
  OwnMac,       // ... and only from a MAC of the port's own
  OwnBoth,      // ... and only from an IPv4 address of the port's own
};

// Ports of a network reach each other by its switch where their groups are the same one.
using GroupNumber = std::uint16_t;
inline constexpr GroupNumber kEveryGroup = 0xffff;  // the host's: it is in all of them

struct Port {
  NetworkIndex network = kNoNetwork;  // kNoNetwork: an uplink, or nobody has the number
  GroupNumber group = 0;              // within the network
  bool is_alone = false;              // a group of its own, for there is another one: it reaches no VM
  WorkerIndex owner = 0;              // the worker that polls its first queue
  bool is_spread = false;             // other workers poll queues of it, too
  std::uint8_t tx_queues = 1;         // open ones. One: the owner's; more: one each of as many workers
  bool up = false;
  bool is_segment = false;  // it leads to many hosts, or to a relay
  bool is_host = false;     // this machine's; it is not among its network's `ports`
  bool is_limited = false;  // of what leaves by it, by some limit of the table
  bool has_rules = false;   // of its own or of its network (filter_rules.h)
  // Bytes of IP packet, as configured or what its interface bears: what is longer does not leave by it,
  // whatever it is.
  std::uint16_t mtu = 1500;
  BurstPort device;   // while it is up
  Offloads offloads;  // of the device: what it does for frames that it transmits
  Guard guard = Guard::GatewayOnly;
  bool is_guarded = false;  // guard: on. It is neither router nor DHCP server to its neighbours
  // Nearly all frames have these: two compares instead of table look-ups. The MAC was last learned here, or
  // is zero; the address, from Guard::Others on, goes with it.
  net::MacAddr usual_mac;
  net::Ipv4Addr usual_address;

  // Which worker transmits what this one has for the port.
  [[nodiscard]] WorkerIndex transmitter_for(WorkerIndex worker) const {
    if (tx_queues <= 1) return owner;
    return worker < tx_queues ? worker : static_cast<WorkerIndex>(worker % tx_queues);
  }
  // Of the device, the queue of the worker that transmits for the port.
  [[nodiscard]] std::uint16_t transmit_queue_of(WorkerIndex worker) const {
    return tx_queues <= 1 ? std::uint16_t{0} : worker;
  }
};

// The ICMP error to a VM that gets no session, because none is left.
enum class ExhaustionAnswer : std::uint8_t { Prohibited, HostUnreachable, Nothing };

// A VM that inbound flows are opened to.
struct InsideHost {
  net::MacAddr mac;  // zero: not resolved
  PortIndex port = 0;
  bool is_silent = false;  // it has not answered ARP: no frame waits for it
  [[nodiscard]] bool is_resolved() const { return !mac.is_zero(); }
};

// Ports of the host that VMs may send to.
struct HostService {
  net::Protocol protocol{};
  net::L4Port first, last;
};

// The machine that vmnat runs on, where it is a station of the network with the gateway's address.
struct HostSide {
  PortIndex port = kUplinkPort;  // kUplinkPort: it is none
  std::vector<HostService> services;

  [[nodiscard]] bool is_there() const { return port != kUplinkPort; }
  [[nodiscard]] bool has_service(net::Protocol protocol, net::L4Port at) const {
    return std::ranges::any_of(services, [=](const HostService& service) {
      return service.protocol == protocol && service.first <= at && at <= service.last;
    });
  }
};

struct Network {
  net::Ipv4Prefix gateway;         // the gateway's address with the network's prefix length
  net::MacAddr mac;                // the gateway's
  PortIndex uplink = kUplinkPort;  // that it is on
  bool is_moving = false;  // it has just come there, and sessions of the other one's address are about to end
  bool has_way_out = true;  // false: isolated
  bool is_routed = false;   // nothing is translated, and remotes open sessions to its VMs
  bool dhcp = false;
  bool awaits_arp = false;   // control asks who has an address, and takes every reply
  std::uint16_t mtu = 1500;  // bytes of IPv4 packet
  ExhaustionAnswer exhaustion_answer = ExhaustionAnswer::Prohibited;
  bool resets_mid_stream = false;  // a VM's TCP without a session that is no SYN is answered by a RST
  std::uint16_t most_mss = 0;      // of TCP connections through the NAT; 0: whatever they say
  HostSide host;
  std::vector<PortIndex> ports;  // of VMs
  WordTable<PortIndex> macs;     // learned: MAC -> port
  WordTable<InsideHost> hosts;   // where forwards go to, by raw IPv4 address, resolved or not
  // Who owns a MAC, or an address by its raw value: the port, kUplinkPort for what is the gateway's.
  WordTable<PortIndex> mac_owners;
  WordTable<PortIndex> address_owners;

  // True for an address that a VM of this network may have.
  [[nodiscard]] bool has_host(net::Ipv4Addr address) const {
    return gateway.is_host(address) && address != gateway.address;
  }
};

// A host on the uplink's link that control resolves.
struct NextHop {
  net::MacAddr mac;        // zero: not resolved
  bool is_silent = false;  // it has not answered ARP: no frame waits for it
};

// While DHCP gives no address, nothing is forwarded. `mtu` is then 0: the look-up's test for the MTU stops
// frames that have a session, so that this needs no test of its own.
struct Uplink {
  net::Ipv4Prefix address;  // unspecified: none
  net::Ipv4Addr gateway;
  net::MacAddr mac;
  net::MacAddr gateway_mac;  // zero: not resolved
  std::uint16_t mtu = 1500;  // bytes of IPv4 packet
  // Control takes DHCP replies, UDP for port 68, of this transaction.
  std::optional<std::uint32_t> dhcp_transaction;
  // Control takes ARP about this address, which is about to be ours; unspecified: there is none.
  net::Ipv4Addr checked_address;
  // An external address whose sessions wait, after a restart, for a lease that gives it again; unspecified: none.
  net::Ipv4Addr awaited;
  net::Ipv4Addr probe;           // control pings it, and takes what it answers; unspecified: there is none
  WordTable<NextHop> neighbors;  // on-link hosts by raw IPv4 address

  [[nodiscard]] bool has_address() const { return !address.address.is_unspecified(); }
  // False beyond the uplink's link when there is no gateway.
  [[nodiscard]] bool has_route(net::Ipv4Addr remote) const {
    return !gateway.is_unspecified() || address.contains(remote);
  }
  // The MAC of a host that control resolves, zero until it is known; nullptr for any other host.
  [[nodiscard]] const net::MacAddr* asked_mac(net::Ipv4Addr host) const {
    if (host.is_unspecified()) return nullptr;
    if (host == gateway) return &gateway_mac;
    const NextHop* neighbor = neighbors.find(host.raw());
    return neighbor != nullptr ? &neighbor->mac : nullptr;
  }
  // MAC of the next hop towards `remote`; zero when it is not resolved.
  [[nodiscard]] const net::MacAddr& next_hop_mac(net::Ipv4Addr remote) const {
    static constexpr net::MacAddr kUnresolved{};
    if (!address.contains(remote)) return gateway_mac;
    const NextHop* neighbor = neighbors.find(remote.raw());
    return neighbor != nullptr ? neighbor->mac : kUnresolved;
  }
  // True for a host on the link that does not answer ARP. The gateway is never given up.
  [[nodiscard]] bool is_silent(net::Ipv4Addr remote) const {
    if (!address.contains(remote)) return false;
    const NextHop* neighbor = neighbors.find(remote.raw());
    return neighbor != nullptr && neighbor->is_silent;
  }
  [[nodiscard]] net::Ipv4Addr next_hop(net::Ipv4Addr remote) const {
    return address.contains(remote) ? remote : gateway;
  }
};

struct ForwardingState {
  std::uint64_t generation = 0;
  PortIndex uplink_count = 1;  // the ports below it are uplinks
  std::vector<Uplink> uplinks = std::vector<Uplink>(1);
  // By external index, a bit an uplink: by which of them frames for the address come. Not asked of the only uplink.
  std::vector<std::uint8_t> uplinks_of_external;
  // By number, and neither grows shorter. A number that nobody has: a network without ports and hosts, a port
  // that is down.
  std::vector<Network> networks;
  std::vector<Port> ports;                   // first the uplinks
  std::uint16_t smallest_mtu = 1500;         // of the VM ports: what is not larger fits all of them
  std::shared_ptr<const LimitTable> limits;  // of the ports; nullptr: there are none
  // What each worker polls. It is the worker's own (poll_set.h).
  std::vector<std::shared_ptr<PollSet>> polled;
  std::shared_ptr<Watches> watches;  // likewise, by worker; nullptr: nobody observes (watch.h)
  // Who is told of sessions, by worker; nullptr: nobody listens.
  std::shared_ptr<const conntrack::SessionListeners> listeners;
  // Shared by states that differ in other things; never null once workers run. The policies are by network.
  std::shared_ptr<const conntrack::ExternalAddresses> external_addresses;
  std::shared_ptr<const conntrack::NatPolicies> policies;
  std::shared_ptr<const FilterRules> rules;  // nullptr: there are none
  // By network, and of one that has just come nothing yet; nullptr: no network has any.
  std::shared_ptr<const EgressRulesByNetwork> egress_rules;
  WordTable<Forward> forwards;  // by forward_word() of the external endpoint
  // The same, of those that lead to several VMs, or are for some remotes.
  WordTable<ForwardRules> forward_rules;
  WordTable<net::Endpoint> static_mappings;  // the external endpoint, by forward_word() of the forward's `to`
  // The same, of `forward_rules`: for the remotes that they lead there.
  WordTable<net::Endpoint> shared_mappings;
  WordTable<AddressPair> pairs_by_internal;  // by raw address
  WordTable<AddressPair> pairs_by_external;  // the same

  static std::uint64_t forward_word(net::Endpoint endpoint, net::Protocol protocol) {
    return conntrack::FlowKey::of({}, endpoint, protocol).remote;
  }
  [[nodiscard]] std::optional<Forward> forward_of(net::Endpoint external, net::Protocol protocol,
                                                  net::Ipv4Addr remote) const {
    const std::uint64_t word = forward_word(external, protocol);
    if (const Forward* forward = forwards.find(word)) return *forward;
    const ForwardRules* several = forward_rules.find(word);
    const auto server = several != nullptr ? server_by(several->rules, remote) : std::nullopt;
    if (!server) return std::nullopt;
    return Forward{*server, several->network, several->is_draining};
  }
  // The external endpoint of the forward that leads to this internal one: what the VM opens leaves by it.
  [[nodiscard]] std::optional<net::Endpoint> static_mapping_of(net::Endpoint internal, net::Protocol protocol,
                                                               net::Ipv4Addr remote) const {
    const std::uint64_t word = forward_word(internal, protocol);
    if (const net::Endpoint* external = static_mappings.find(word)) return *external;
    const net::Endpoint* shared = shared_mappings.find(word);
    const auto way_in = shared != nullptr ? forward_of(*shared, protocol, remote) : std::nullopt;
    return way_in && way_in->to == internal ? std::optional{*shared} : std::nullopt;
  }
  // nullptr: no rule says anything.
  [[nodiscard]] const EgressRule* egress_rule(NetworkIndex network, net::Ipv4Addr internal,
                                              net::Ipv4Addr remote) const {
    return egress_rules != nullptr ? rule_for(*egress_rules, network, internal, remote) : nullptr;
  }
  // Flows with our own addresses are translated, whatever rules say: they turn round.
  [[nodiscard]] bool is_exempt(NetworkIndex network, net::Ipv4Addr internal, net::Ipv4Addr remote) const {
    const EgressRule* rule = egress_rule(network, internal, remote);
    return rule != nullptr && !rule->is_translated && !is_external(remote);
  }
  // nullptr: the internal, or external, address is none of a pair.
  [[nodiscard]] const AddressPair* pair_of(net::Ipv4Addr internal) const {
    return pairs_by_internal.find(internal.raw());
  }
  [[nodiscard]] const AddressPair* pair_at(net::Ipv4Addr external) const {
    return pairs_by_external.find(external.raw());
  }
  // Where an external endpoint leads whose address is a VM's alone: to the same port.
  [[nodiscard]] std::optional<Forward> forward_by_pair(net::Endpoint external) const {
    const AddressPair* pair = pair_at(external.address);
    if (pair == nullptr) return std::nullopt;
    return Forward{{pair->internal, external.port}, pair->network, pair->is_draining};
  }

  [[nodiscard]] bool is_uplink(PortIndex port) const { return port < uplink_count; }
  // The uplink that a network is on; that of a session is its policy's.
  [[nodiscard]] PortIndex uplink_port(NetworkIndex network) const {
    return uplink_count == 1 ? kUplinkPort : networks[network].uplink;
  }
  [[nodiscard]] const Uplink& uplink_of(NetworkIndex network) const { return uplinks[uplink_port(network)]; }
  // Whether the session's frames may come by this port: by another uplink none does. What turns round comes by a VM's.
  [[nodiscard]] bool comes_by(const conntrack::Session& session, PortIndex port) const {
    return uplink_count == 1 || !is_uplink(port) || networks[session.policy()].uplink == port;
  }
  // A session on the address of the uplink that its network was on until now: it does not leave by the new one.
  [[nodiscard]] bool is_left_behind(const conntrack::Session& session) const {
    if (uplink_count == 1) return false;
    const Network& network = networks[session.policy()];
    return network.is_moving && !session.is_untranslated() &&
           !is_external_at(session.external().address, network.uplink);
  }
  // The network or broadcast address of an uplink's link.
  [[nodiscard]] bool is_edge_of_uplink(net::Ipv4Addr address) const {
    return std::ranges::any_of(uplinks,
                               [=](const Uplink& uplink) { return uplink.address.is_edge(address); });
  }
  [[nodiscard]] bool is_on_link(net::Ipv4Addr address) const {
    return std::ranges::any_of(uplinks,
                               [=](const Uplink& uplink) { return uplink.address.contains(address); });
  }

  // True for an external address of ours, uplinks' among them.
  [[nodiscard]] bool is_external(net::Ipv4Addr address) const {
    return external_addresses->index_of(address).has_value();
  }
  // The same, where frames for it come by the port, if that is an uplink.
  [[nodiscard]] bool is_external_at(net::Ipv4Addr address, PortIndex port) const {
    const auto index = external_addresses->index_of(address);
    if (!index || uplink_count == 1 || !is_uplink(port)) return index.has_value();
    return *index < uplinks_of_external.size() && (uplinks_of_external[*index] >> port & 1) != 0;
  }
  // The first uplink that frames for the address come by; nothing: it is not external.
  [[nodiscard]] std::optional<PortIndex> first_uplink_of(net::Ipv4Addr address) const {
    for (PortIndex uplink = 0; uplink < uplink_count; ++uplink)
      if (is_external_at(address, uplink)) return uplink;
    return std::nullopt;
  }
  // True for an external address, but not one that is a VM's alone: the gateway itself answers echo requests there.
  [[nodiscard]] bool is_gateways(net::Ipv4Addr address) const {
    return is_external(address) && pair_at(address) == nullptr;
  }
  // True for an external address at the uplink, but not one that we do not have at present.
  [[nodiscard]] bool is_own_address(net::Ipv4Addr address, PortIndex uplink) const {
    return is_external_at(address, uplink) && address != uplinks[uplink].awaited;
  }
  // True for an address of a network that has flows without translation.
  [[nodiscard]] bool is_shown_outside(net::Ipv4Addr address) const {
    if (egress_rules == nullptr) return false;
    const NetworkIndex network = network_of(address);
    return network < egress_rules->size() && has_exemption((*egress_rules)[network]);
  }
  // Which of several workers has all sessions of a VM's endpoint.
  [[nodiscard]] WorkerIndex inside_owner(PortIndex port, net::Endpoint internal, unsigned workers) const {
    if (!ports[port].is_spread) return ports[port].owner;
    const auto hash = static_cast<std::uint32_t>(fibonacci_hash(conntrack::FlowKey::pack(internal)));
    return static_cast<WorkerIndex>(scaled_below(workers, hash));
  }
  // Whether the switch of their network takes frames from one port to the other.
  [[nodiscard]] bool are_in_one_group(PortIndex from, PortIndex to) const {
    const GroupNumber one = ports[from].group, other = ports[to].group;
    return one == other || one == kEveryGroup || other == kEveryGroup;
  }
  // Of a VM port.
  [[nodiscard]] const Network& network_at(PortIndex port) const { return networks[ports[port].network]; }
  // The egress MTU of a port: bytes of the largest IPv4 packet that leaves by it uncut.
  [[nodiscard]] std::uint16_t egress_mtu(PortIndex port) const {
    return is_uplink(port) ? uplinks[port].mtu : ports[port].mtu;
  }
  [[nodiscard]] NetworkIndex network_of(net::Ipv4Addr address) const {
    for (std::size_t i = 0; i < networks.size(); ++i)
      if (networks[i].gateway.contains(address)) return static_cast<NetworkIndex>(i);
    return kNoNetwork;
  }
};

}  // namespace vmnat::dataplane
