// SPDX-License-Identifier: Apache-2.0
// The uplink: link, address, router, and the kernel beside vmnat.
#include <algorithm>

#include "control/doctor/examine.h"
#include "control/doctor/named_devices.h"

namespace vmnat::doctor {
namespace {

constexpr const char* kUplink = "uplink";

// VMs may go by another one.
void check_dead(const LiveFacts& live, Findings& findings) {
  for (const DeadUplink& dead : live.dead_uplinks)
    findings.add("uplink-dead", "uplink " + dead.name, dead.why, fmt::arg("name", dead.name));
}

void check_only(const Patient& patient, const LiveUplink& uplink, Findings& findings) {
  const std::string& device = patient.config.uplink.device.name;
  if (!uplink.is_up)
    findings.add("uplink-down", kUplink, fmt::format("{} has no link", device), fmt::arg("device", device));
  if (uplink.waits_for_lease)
    findings.add("uplink-no-lease", kUplink,
                 uplink.lease_problem.empty() ? "no DHCP server has answered" : uplink.lease_problem);
  if (uplink.is_up && !uplink.gateway.is_unspecified() && !uplink.is_gateway_known)
    findings.add("gateway-silent", kUplink,
                 fmt::format("{} does not answer ARP on {}", net::to_string(uplink.gateway), device),
                 fmt::arg("gateway", net::to_string(uplink.gateway)));
}

void check_conflicts(const Patient& patient, const LiveUplink& uplink, Findings& findings) {
  const std::string& device = patient.config.uplink.device.name;
  if (uplink.recent_conflicts > 0)
    findings.add("uplink-address-claimed", kUplink,
                 fmt::format("{} claims of addresses of ours were heard lately", uplink.recent_conflicts),
                 fmt::arg("device", device),
                 fmt::arg("address", patient.config.uplink.address
                                         ? net::to_string(patient.config.uplink.address->address)
                                         : "ADDRESS"));
}

bool is_external(const Patient& patient, net::Ipv4Addr address) {
  const config::Config& config = patient.config;
  for (std::size_t i = 0; i < config::uplink_count(config); ++i)
    if (const auto& own = config::uplink_at(config, i).address; own && own->address == address) return true;
  if (patient.live != nullptr &&
      std::ranges::find(patient.live->external_addresses, address) != patient.live->external_addresses.end())
    return true;
  return std::ranges::any_of(config.networks, [&](const config::Network& network) {
    return network.forward == config::Forward::Nat &&
           std::ranges::any_of(network.nat.addresses,
                               [&](const config::AddressRange& range) { return range.contains(address); });
  });
}

void check_own_addresses(const Patient& patient, Findings& findings) {
  for (const control::KernelRoute& route : patient.host.routes)
    if (route.is_own_address && is_external(patient, route.to.address))
      findings.add("uplink-address-on-host", kUplink,
                   fmt::format("{} has {}", route.interface, net::to_string(route.to.address)),
                   fmt::arg("address", net::to_string(route.to)), fmt::arg("interface", route.interface));
}

// The kernel sees what comes for vmnat's address if the MAC is its own, and sends it on if it has a way.
void check_forwarding(const Patient& patient, const config::Uplink& uplink, Findings& findings) {
  const std::string name = interface_of(uplink.device);
  const auto found = patient.host.interfaces.find(name);
  if (name.empty() || found == patient.host.interfaces.end() || !found->second.forwards || !uplink.address)
    return;
  if (uplink.mac && *uplink.mac != found->second.link.mac) return;
  const bool has_way = std::ranges::any_of(patient.host.routes, [&](const control::KernelRoute& route) {
    return !route.is_own_address && route.to.contains(uplink.address->address);
  });
  if (has_way)
    findings.add("uplink-forwarded-by-host", kUplink,
                 fmt::format("net.ipv4.conf.{}.forwarding is 1, and the host has a route", name),
                 fmt::arg("interface", name));
}

}  // namespace

void check_uplink(const Patient& patient, Findings& findings) {
  const std::size_t uplinks = config::uplink_count(patient.config);
  if (patient.live != nullptr && !patient.config.uplinks.empty()) check_dead(*patient.live, findings);
  if (patient.live != nullptr && uplinks == 1) check_only(patient, patient.live->uplink, findings);
  if (patient.live != nullptr) check_conflicts(patient, patient.live->uplink, findings);
  check_own_addresses(patient, findings);
  for (std::size_t i = 0; i < uplinks; ++i)
    check_forwarding(patient, config::uplink_at(patient.config, i), findings);
}

}  // namespace vmnat::doctor
