// SPDX-License-Identifier: Apache-2.0
// Interfaces of the kernel that are vmnat's uplink or ports.
#include <algorithm>
#include <fmt/ranges.h>

#include "control/doctor/examine.h"
#include "control/doctor/named_devices.h"

namespace vmnat::doctor {
namespace {

// vmnatd brings interfaces up as it starts, and is itself the other end of a TAP.
void check_link(const Patient& patient, const std::string& object, const control::KernelLink& link,
                Findings& findings) {
  const auto interface = fmt::arg("interface", link.name);
  const bool is_live = patient.live != nullptr;
  if (!link.is_up && is_live)
    findings.add("interface-down", object, fmt::format("{} is down", link.name), interface);
  else if (link.is_up && !link.has_carrier && (is_live || link.kind != "tun"))
    findings.add("interface-no-carrier", object, fmt::format("{} is up, without carrier", link.name),
                 interface);
}

void check_addresses(const std::string& object, const InterfaceFacts& interface, Findings& findings) {
  if (interface.addresses.empty()) return;
  std::vector<std::string> texts;
  for (const net::Ipv4Addr address : interface.addresses) texts.push_back(net::to_string(address));
  findings.add("interface-has-address", object,
               fmt::format("{} has {}", interface.link.name, fmt::join(texts, ", ")),
               fmt::arg("interface", interface.link.name));
}

void check_interface(const Patient& patient, const Named& named, const std::string& name,
                     Findings& findings) {
  const auto found = patient.host.interfaces.find(name);
  if (found == patient.host.interfaces.end())
    return findings.add("interface-absent", named.object, fmt::format("there is no interface {}", name));
  const InterfaceFacts& interface = found->second;
  check_link(patient, named.object, interface.link, findings);
  if (interface.link.mtu < named.mtu)
    findings.add("interface-mtu-small", named.object,
                 fmt::format("{} has an MTU of {}, the file says {}", name, interface.link.mtu, named.mtu),
                 fmt::arg("interface", name), fmt::arg("mtu", named.mtu));
  if (!interface.bridge.empty())
    findings.add("interface-in-bridge", named.object,
                 fmt::format("{} is a port of {}", name, interface.bridge), fmt::arg("interface", name));
  check_addresses(named.object, interface, findings);
  if (interface.peer_leaves_checksums && is_blind_to_partial_checksums(*named.device))
    findings.add("veth-checksum", named.object,
                 fmt::format("{}, at the other end of {}, has tx-checksumming on", interface.peer, name),
                 fmt::arg("peer", interface.peer));
}

}  // namespace

void check_interfaces(const Patient& patient, Findings& findings) {
  if (patient.host.are_interfaces_known)
    for (const Named& named : named_devices(patient.config))
      if (const std::string name = interface_of(*named.device); !name.empty())
        check_interface(patient, named, name, findings);
  for (const config::Network& network : patient.config.networks)
    if (network.host && !patient.host.is_tun_usable)
      findings.add(
          "tun-unusable", "network " + network.name,
          fmt::format("host.interface is {}, and /dev/net/tun cannot be opened", network.host->interface));
}

}  // namespace vmnat::doctor
