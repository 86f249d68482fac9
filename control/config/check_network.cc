// SPDX-License-Identifier: Apache-2.0
// Checks within one network: its address, and what its DHCP would hand out.
#include <algorithm>
#include <array>

#include "control/config/check.h"
#include "control/config/keys_network.h"

namespace vmnat::config {
namespace {

using net::to_string;

std::string network_text(const Network& network) {
  return to_string(net::Ipv4Prefix{network.address.first(), network.address.length});
}

// Complains unless `address` is one that a VM of the network can have.
void check_is_vm_address(const Network& network, net::Ipv4Addr address, const std::string& path,
                         const std::string& subject, Findings& findings) {
  if (!network.address.contains(address))
    return findings.complain_at(
        path, subject + ": " + to_string(address) + " is not within " + network_text(network));
  if (address == network.address.address)
    return findings.complain_at(path, subject + ": " + to_string(address) + " is the gateway's address");
  check_is_host_of(network.address, address, path, subject, findings);
}

void check_ranges(const Network& network, const std::string& path, Findings& findings) {
  const auto& ranges = network.dhcp->ranges;
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    const std::string at = indexed(path, i);
    if (!findings.has(at)) continue;
    for (std::size_t earlier = 0; earlier < i; ++earlier)
      if (findings.has(indexed(path, earlier)) && ranges[i].overlaps(ranges[earlier]))
        findings.complain_at(at, "ranges: " + to_text(ranges[i]) + " overlaps " + to_text(ranges[earlier]));
    const AddressRange hosts = host_range(network.address);
    if (!network.address.contains(ranges[i].first) || !network.address.contains(ranges[i].last))
      findings.complain_at(at, "ranges: " + to_text(ranges[i]) + " is not within " + network_text(network));
    else if (!hosts.contains(ranges[i].first) || !hosts.contains(ranges[i].last))
      findings.complain_at(at, "ranges: " + to_text(ranges[i]) +
                                   " includes the network or broadcast address of " + network_text(network));
    else if (ranges[i].size() == 1 && ranges[i].contains(network.address.address))
      findings.complain_at(at, "ranges: " + to_text(ranges[i]) + " is only the gateway's address");
  }
}

void check_is_port_of(const Network& network, const std::string& name, const std::string& path,
                      Findings& findings) {
  if (!findings.has(path)) return;
  for (const VmPort& port : network.ports)
    if (port.name == name) return;
  findings.complain_at(path, "port: network '" + network.name + "' has no port '" + name + "'");
}

void check_boot(const Network& network, const std::string& path, Findings& findings) {
  if (!network.dhcp->boot) return;
  Unique<unsigned> architectures("boot: arch", findings);
  const auto& files = network.dhcp->boot->by_arch;
  for (std::size_t i = 0; i < files.size(); ++i)
    architectures.add(files[i].arch, indexed(path + ".by_arch", i) + ".arch", std::to_string(files[i].arch));
}

void check_reservations(const Network& network, const std::string& path, Findings& findings) {
  Unique<net::MacAddr> macs("reservations: mac", findings);
  Unique<std::string> ports("reservations: port", findings);
  Unique<net::Ipv4Addr> addresses("reservations: address", findings);
  Unique<std::string> hostnames("reservations: hostname", findings);
  const auto& reservations = network.dhcp->reservations;
  for (std::size_t i = 0; i < reservations.size(); ++i) {
    const Reservation& reservation = reservations[i];
    const std::string at = indexed(path, i);
    if (reservation.mac) macs.add(*reservation.mac, at + ".mac", to_string(*reservation.mac));
    ports.add(reservation.port, at + ".port", "'" + reservation.port + "'");
    check_is_port_of(network, reservation.port, at + ".port", findings);
    addresses.add(reservation.address, at + ".address", to_string(reservation.address));
    hostnames.add(reservation.hostname, at + ".hostname", "'" + reservation.hostname + "'");
    check_is_vm_address(network, reservation.address, at + ".address", "address", findings);
    if (reservation.mac && network.mac == reservation.mac)
      findings.complain_at(at + ".mac", "mac: " + to_string(*reservation.mac) + " is the gateway's");
  }
}

// The MAC and the address that the configuration gives a port. DHCP reserves the address, too.
void check_ports(const Network& network, const std::string& path, Findings& findings) {
  Unique<net::MacAddr> macs("ports: mac", findings);
  Unique<net::Ipv4Addr> addresses("ports: address", findings);
  for (std::size_t i = 0; i < network.ports.size(); ++i) {
    const VmPort& port = network.ports[i];
    const std::string at = indexed(path, i);
    if (port.mac) macs.add(*port.mac, at + ".mac", to_string(*port.mac));
    if (port.mac && port.mac == network.mac)
      findings.complain_at(at + ".mac", "mac: " + to_string(*port.mac) + " is the gateway's");
    if (!port.address) continue;
    addresses.add(*port.address, at + ".address", to_string(*port.address));
    check_is_vm_address(network, *port.address, at + ".address", "address", findings);
  }
}

// Of what a VM has, and of what serves its sessions, all is the same at both ports.
std::string refusal_of_migration(const VmPort& port, const VmPort& origin) {
  if (&port == &origin) return "is this port itself";
  if (!origin.migrates_from.empty()) return "has a VM of another port itself: name that one";
  if (port.vhost_user.empty() || origin.vhost_user.empty()) return "and this port need vhost_user, both";
  if (port.mac || port.address)
    return "has a VM whose mac and address are those of that port: leave them out here";
  if (!port.group.empty()) return "has a VM whose group is that of that port: leave it out here";
  if (!port.rules.empty()) return "has a VM whose rules are those of that port: leave them out here";
  if (port.queues != origin.queues)
    return "has " + std::to_string(origin.queues) + (origin.queues == 1 ? " queue" : " queues") +
           ": say as many here";
  return {};
}

void check_migrations(const Network& network, const std::string& path, Findings& findings) {
  for (std::size_t i = 0; i < network.ports.size(); ++i) {
    const VmPort& port = network.ports[i];
    const std::string at = indexed(path, i) + ".migrates_from";
    if (!findings.has(at)) continue;
    const auto origin = std::ranges::find(network.ports, port.migrates_from, &VmPort::name);
    const std::string why = origin == network.ports.end() ? "is no port of network '" + network.name + "'"
                                                          : refusal_of_migration(port, *origin);
    if (!why.empty()) findings.complain_at(at, "migrates_from: '" + port.migrates_from + "' " + why);
  }
}

void check_reservations_of_ports(const Network& network, const std::string& path, Findings& findings) {
  const auto& reservations = network.dhcp->reservations;
  for (std::size_t i = 0; i < reservations.size(); ++i)
    for (const VmPort& port : network.ports) {
      const std::string is_of = " is that of port '" + port.name + "', which is reserved already";
      if (port.address == reservations[i].address)
        findings.complain_at(indexed(path, i) + ".address",
                             "address: " + to_string(reservations[i].address) + is_of);
      else if (port.address && port.mac && port.mac == reservations[i].mac)
        findings.complain_at(indexed(path, i) + ".mac", "mac: " + to_string(*reservations[i].mac) + is_of);
    }
}

void check_routes(const Network& network, const std::string& path, Findings& findings) {
  Unique<std::string> destinations("routes: to", findings);
  const auto& routes = network.dhcp->routes;
  for (std::size_t i = 0; i < routes.size(); ++i) {
    const std::string at = indexed(path, i);
    destinations.add(to_string(routes[i].to), at + ".to", to_string(routes[i].to));
    if (!network.address.contains(routes[i].via))
      findings.complain_at(at + ".via",
                           "via: " + to_string(routes[i].via) + " is not within " + network_text(network));
  }
}

// Options that vmnat fills in itself, and the key that decides them.
struct OwnOption {
  unsigned code;
  std::string_view decided_by;
};
constexpr std::array kOwnOptions{OwnOption{1, "networks[].address"}, OwnOption{3, "networks[].address"},
                                 OwnOption{6, "dhcp.dns"},           OwnOption{15, "dhcp.domain"},
                                 OwnOption{26, "networks[].mtu"},    OwnOption{28, "networks[].address"},
                                 OwnOption{42, "dhcp.ntp"},          OwnOption{50, "the protocol"},
                                 OwnOption{51, "dhcp.lease_time"},   OwnOption{52, "the protocol"},
                                 OwnOption{53, "the protocol"},      OwnOption{54, "the protocol"},
                                 OwnOption{55, "the protocol"},      OwnOption{57, "the protocol"},
                                 OwnOption{58, "dhcp.lease_time"},   OwnOption{59, "dhcp.lease_time"},
                                 OwnOption{61, "the protocol"},      OwnOption{67, "dhcp.boot"},
                                 OwnOption{119, "dhcp.search"},      OwnOption{121, "dhcp.routes"}};

void check_options(const Network& network, const std::string& path, Findings& findings) {
  Unique<unsigned> codes("options: code", findings);
  const auto& options = network.dhcp->options;
  for (std::size_t i = 0; i < options.size(); ++i) {
    const std::string at = indexed(path, i) + ".code";
    codes.add(options[i].code, at, std::to_string(options[i].code));
    for (const OwnOption& own : kOwnOptions)
      if (own.code == options[i].code)
        findings.complain_at(
            at, "code: option " + std::to_string(own.code) + " is decided by " + std::string{own.decided_by});
  }
}

// A list of addresses that travels in one option.
void check_servers(const Network& network, const std::vector<net::Ipv4Addr>& servers, const std::string& path,
                   Findings& findings) {
  const std::string key = path.substr(path.rfind('.') + 1);
  if (servers.size() > kMostAddressesInAnOption)
    findings.complain_at(path, key + ": at most 63 addresses fit into the option");
  for (std::size_t i = 0; i < servers.size(); ++i)
    if (servers[i] == network.address.address)
      findings.complain_at(indexed(path, i),
                           key + ": " + to_string(servers[i]) +
                               " is the gateway, which offers no such service" +
                               (key == "dns" && network.host ? " by a list (say gateway)" : ""));
}

void check_host(const Network& network, const std::string& path, Findings& findings) {
  if (network.host && network.host->services.size() > kMostHostServices)
    findings.complain_at(path + ".services",
                         "services: at most " + std::to_string(kMostHostServices) + " (a range is one)");
}

// DNS is a service of this host.
void check_dns(const Network& network, const std::string& path, Findings& findings) {
  if (network.host) return;
  const std::string why = "the gateway answers DNS only where this host is on the network (networks[].host)";
  if (network.dns) findings.complain_at(path + ".dns", "dns: " + why);
  if (network.dhcp && network.dhcp->dns.from == DnsSource::Gateway)
    findings.complain_at(path + ".dhcp.dns", "dns: " + why);
}

void check_dhcp(const Network& network, const std::string& path, Findings& findings) {
  check_ranges(network, path + ".ranges", findings);
  check_reservations(network, path + ".reservations", findings);
  check_reservations_of_ports(network, path + ".reservations", findings);
  check_boot(network, path + ".boot", findings);
  check_routes(network, path + ".routes", findings);
  check_options(network, path + ".options", findings);
  if (network.dhcp->dns.from == DnsSource::Listed)
    check_servers(network, network.dhcp->dns.servers, path + ".dns", findings);
  check_servers(network, network.dhcp->ntp, path + ".ntp", findings);
}

// Routers do not forward link-local addresses (RFC 3927 section 7): VMs that have one would reach nobody.
void check_is_forwarded(const Network& network, const std::string& path, Findings& findings) {
  if (network.forward == Forward::None || network.address.address.is_forwarded()) return;
  findings.complain_at(path, "address: " + net::to_string(network.address) +
                                 " is link-local, and nothing of it is ever forwarded (say forward: none)");
}

}  // namespace

void check_network(const Config& config, std::size_t index, Findings& findings) {
  const Network& network = config.networks[index];
  const std::string path = network_path(index);
  if (!findings.has(path + ".address")) return;
  if (network.address.length < 8 || network.address.length > 30)
    return findings.complain_at(path + ".address",
                                "address: the prefix length of a network is between 8 and 30");
  check_is_host_of(network.address, network.address.address, path + ".address", "address", findings);
  check_is_forwarded(network, path + ".address", findings);
  check_host(network, path + ".host", findings);
  check_dns(network, path, findings);
  check_ports(network, path + ".ports", findings);
  check_migrations(network, path + ".ports", findings);
  if (network.dhcp) check_dhcp(network, path + ".dhcp", findings);
}

}  // namespace vmnat::config
