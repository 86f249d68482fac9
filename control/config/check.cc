// SPDX-License-Identifier: Apache-2.0
// Checks over the whole file: what must be unique, what must not overlap, the uplink.
#include "control/config/check.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>

#include "base/ids.h"
#include "control/config/resolvers.h"

namespace vmnat::config {
namespace {

using net::to_string;

void check_dataplane(const Dataplane& dataplane, Findings& findings) {
  Unique<unsigned> cpus("workers: CPU", findings);
  for (std::size_t i = 0; i < dataplane.workers.size(); ++i)
    cpus.add(dataplane.workers[i], indexed("dataplane.workers", i), std::to_string(dataplane.workers[i]));

  const auto& workers = dataplane.workers;
  const bool shared = dataplane.control_cpu &&
                      std::find(workers.begin(), workers.end(), *dataplane.control_cpu) != workers.end();
  if (shared)
    findings.complain_at("dataplane.control_cpu",
                         "control_cpu: CPU " + std::to_string(*dataplane.control_cpu) + " is a worker's");
  if (dataplane.memory < ByteSize::mebibytes(64) || dataplane.memory > ByteSize::mebibytes(1 << 20))
    findings.complain_at("dataplane.memory",
                         "memory: must be between 64M and 1T, not " + to_text(dataplane.memory));
}

void check_names(const Config& config, Findings& findings) {
  Unique<std::string> networks("name: network", findings), ports("name: port", findings);
  const auto refuse_uplink = [&](const std::string& name, const std::string& path) {
    for (std::size_t i = 0; i < uplink_count(config); ++i)
      if (name == uplink_name(config, i))
        findings.complain_at(path, "name: '" + name + "' is the name of " +
                                       (config.uplinks.empty() ? "the" : "an") + " uplink");
  };
  for (std::size_t n = 0; n < config.networks.size(); ++n) {
    const Network& network = config.networks[n];
    const std::string path = network_path(n);
    networks.add(network.name, path + ".name", "'" + network.name + "'");
    refuse_uplink(network.name, path + ".name");
    if (network.host) {  // its port is called as the interface is
      ports.add(network.host->interface, path + ".host.interface", "'" + network.host->interface + "'");
      refuse_uplink(network.host->interface, path + ".host.interface");
    }
    for (std::size_t p = 0; p < network.ports.size(); ++p) {
      const std::string port_path = indexed(path + ".ports", p);
      ports.add(network.ports[p].name, port_path + ".name", "'" + network.ports[p].name + "'");
      refuse_uplink(network.ports[p].name, port_path + ".name");
    }
  }
}

void check_network_count(const Config& config, Findings& findings) {
  if (config.networks.size() > kMostNetworks)
    findings.complain_at(
        network_path(kMostNetworks) + ".name",
        "networks: there is room for " + std::to_string(kMostNetworks) + "; this one is too many");
}

// vmnatd gives the directory its rights: it must be nobody else's.
void check_socket_directory(const Config& config, Findings& findings) {
  constexpr std::array kShared{"/dev/shm", "/run/lock", "/run/user", "/var/lib", "/var/run", "/var/tmp"};
  const std::string directory =
      (std::filesystem::path(config.vhost_user.directory) / "").lexically_normal().parent_path();
  const bool is_shallow = std::ranges::count(directory, '/') < 2;
  if (is_shallow || std::ranges::find(kShared, directory) != kShared.end())
    findings.complain_at("vhost_user.directory",
                         "directory: " + directory + " is not for sockets alone: name one within it");
}

// Two writers of one file would undo each other's work.
void check_exports(const Config& config, Findings& findings) {
  Unique<std::string> files("exports: file", findings);
  for (std::size_t n = 0; n < config.networks.size(); ++n) {
    if (!config.networks[n].dhcp) continue;
    const DhcpExports& exports = config.networks[n].dhcp->exports;
    const std::string path = network_path(n) + ".dhcp.exports";
    if (exports.dnsmasq) files.add(*exports.dnsmasq, path + ".dnsmasq", *exports.dnsmasq);
    if (exports.libvirt) files.add(*exports.libvirt, path + ".libvirt", *exports.libvirt);
  }
}

// Silent when an uplink's address comes by DHCP: its lease may name resolvers.
void note_missing_resolvers(const Config& config, Findings& findings) {
  if (!has_fixed_addresses(config)) return;
  for (std::size_t n = 0; n < config.networks.size(); ++n) {
    const auto& dhcp = config.networks[n].dhcp;
    if (dhcp && dhcp->dns.from == DnsSource::Host && dhcp->dns.servers.empty())
      findings.notes.push_back({"", findings.marks.at(network_path(n) + ".dhcp"),
                                "warning: dns: VMs are told no resolver: " + std::string{kNoUsableResolver}});
  }
}

// One number for each, and for what no rule matches.
void check_rule_count(const Config& config, Findings& findings) {
  std::size_t rules = 0;
  const auto count = [&](const std::vector<FilterRule>& list, const std::string& path) {
    if (rules <= kMostRules && rules + list.size() > kMostRules)
      findings.complain_at(
          indexed(path, kMostRules - rules),
          "rules: there is room for " + std::to_string(kMostRules) + "; this one is too many");
    rules += list.size();
  };
  for (std::size_t n = 0; n < config.networks.size(); ++n) {
    count(config.networks[n].rules, network_path(n) + ".rules");
    for (std::size_t p = 0; p < config.networks[n].ports.size(); ++p)
      count(config.networks[n].ports[p].rules, indexed(network_path(n) + ".ports", p) + ".rules");
  }
}

void check_macs(const Config& config, Findings& findings) {
  Unique<net::MacAddr> macs("mac:", findings);
  for (std::size_t i = 0; i < uplink_count(config); ++i)
    if (const auto& mac = uplink_at(config, i).mac)
      macs.add(*mac, uplink_path(config, i) + ".mac", to_string(*mac));
  for (std::size_t n = 0; n < config.networks.size(); ++n) {
    const auto& mac = config.networks[n].mac;
    if (mac) macs.add(*mac, network_path(n) + ".mac", to_string(*mac));
  }
}

// Of a network's address, which stands at `path`.
void check_overlap(const net::Ipv4Prefix& own, const Config& config, std::size_t number,
                   const std::string& path, Findings& findings) {
  const Uplink& uplink = uplink_at(config, number);
  const std::string at = uplink_path(config, number), whose = uplink_text(config, number) + "'s ";
  if (findings.has(at + ".address") && uplink.address && own.overlaps(*uplink.address))
    findings.complain_at(path,
                         "address: " + to_string(own) + " overlaps " + whose + to_string(*uplink.address));
  if (findings.has(at + ".gateway") && uplink.gateway && own.contains(*uplink.gateway))
    findings.complain_at(
        path, "address: " + to_string(own) + " contains " + whose + "gateway " + to_string(*uplink.gateway));
}

void check_overlaps(const Config& config, Findings& findings) {
  for (std::size_t n = 0; n < config.networks.size(); ++n) {
    const std::string path = network_path(n) + ".address";
    const auto& own = config.networks[n].address;
    if (!findings.has(path)) continue;
    for (std::size_t i = 0; i < uplink_count(config); ++i) check_overlap(own, config, i, path, findings);
    for (std::size_t other = 0; other < n; ++other) {
      const Network& earlier = config.networks[other];
      if (findings.has(network_path(other) + ".address") && own.overlaps(earlier.address))
        findings.complain_at(path, "address: " + to_string(own) + " overlaps network '" + earlier.name +
                                       "' (" + to_string(earlier.address) + ")");
    }
  }
}

}  // namespace

void check_is_host_of(const net::Ipv4Prefix& prefix, net::Ipv4Addr address, const std::string& path,
                      const std::string& subject, Findings& findings) {
  if (!prefix.is_edge(address)) return;
  const std::string network = to_string(net::Ipv4Prefix{prefix.first(), prefix.length});
  const std::string what = address == prefix.first() ? "network" : "broadcast";
  findings.complain_at(path,
                       subject + ": " + to_string(address) + " is the " + what + " address of " + network);
}

void check_config(const Config& config, Findings& findings) {
  check_dataplane(config.dataplane, findings);
  check_uplinks(config, findings);
  check_names(config, findings);
  check_network_count(config, findings);
  check_socket_directory(config, findings);
  check_devices(config, findings);
  check_macs(config, findings);
  check_exports(config, findings);
  note_missing_resolvers(config, findings);
  check_overlaps(config, findings);
  for (std::size_t n = 0; n < config.networks.size(); ++n) {
    check_network(config, n, findings);
    check_rules(config, n, findings);
  }
  check_limits(config, findings);
  check_rule_count(config, findings);
  check_nat(config, findings);
}

}  // namespace vmnat::config
