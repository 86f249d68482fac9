// SPDX-License-Identifier: Apache-2.0
// Networks: their subnets among the host's routes, DNS, DHCP.
#include <algorithm>

#include "control/doctor/examine.h"

namespace vmnat::doctor {
namespace {

constexpr std::string_view kLibvirtBridge = "virbr";

// A route of the host's that leads elsewhere; nullptr: there is none. A default route leads everywhere, and stands
// back for the network's.
const control::KernelRoute* route_in_the_way(const Patient& patient, const config::Network& network) {
  const std::string own = network.host ? network.host->interface : std::string {};
  const auto found = std::ranges::find_if(patient.host.routes, [&](const control::KernelRoute& route) {
    const bool is_own = !own.empty() && route.interface == own;
    return !is_own && route.to.length > 0 && route.to.overlaps(network.address);
  });
  return found == patient.host.routes.end() ? nullptr : &*found;
}

void check_subnet(const Patient& patient, const config::Network& network, Findings& findings) {
  const control::KernelRoute* const route = route_in_the_way(patient, network);
  if (route == nullptr) return;
  const std::string object = "network " + network.name;
  const std::string seen =
      fmt::format("{} is also {} of {}", net::to_string(network.address),
                  route->is_own_address ? "an address" : "behind a route", route->interface);
  if (route->interface.starts_with(kLibvirtBridge))
    return findings.add("libvirt-network-up", object, seen,
                        fmt::arg("name", route->interface == "virbr0" ? "default" : "NAME"));
  findings.add("subnet-on-route", object, seen, fmt::arg("to", net::to_string(route->to)),
               fmt::arg("network", network.name));
}

bool is_served_elsewhere(const Patient& patient, const config::Network& network) {
  const auto& listeners = patient.host.dns_listeners;
  const bool listens_on_all = std::ranges::find(listeners, net::Ipv4Addr{}) != listeners.end();
  const bool listens_on_ours = std::ranges::find(listeners, network.address.address) != listeners.end();
  if (patient.live == nullptr) return listens_on_all || listens_on_ours;
  const auto& without = patient.live->networks_without_dns;  // else the listener is vmnat's
  return std::ranges::find(without, network.name) != without.end() && (listens_on_all || listens_on_ours);
}

void check_dns(const Patient& patient, const config::Network& network, Findings& findings) {
  if (!config::serves_dns(network)) return;
  const std::string object = "network " + network.name;
  if (!patient.host.has_dnsmasq)
    findings.add("dns-program-missing", object, "there is no program dnsmasq");
  else if (is_served_elsewhere(patient, network))
    findings.add("dns-port-taken", object,
                 fmt::format("somebody serves UDP port 53 of {}", net::to_string(network.address.address)));
  if (patient.host.has_apparmor_for_dnsmasq)
    findings.add("apparmor-dnsmasq", object, "AppArmor is on, and has a profile of dnsmasq");
}

// An uplink's lease may name others; only a running vmnatd knows.
void check_resolvers(const Patient& patient, const config::Network& network, Findings& findings) {
  if (!network.dhcp || network.dhcp->dns.from != config::DnsSource::Host) return;
  const bool has_none = patient.live != nullptr
                            ? !patient.live->resolver_problem.empty()
                            : config::has_fixed_addresses(patient.config) && patient.host.resolvers.empty();
  if (has_none)
    findings.add("resolver-on-loopback", "network " + network.name,
                 "of this host's resolvers none is one that VMs can reach",
                 fmt::arg("network", network.name));
}

void check_pools(const LiveFacts& live, Findings& findings) {
  constexpr std::uint64_t kNearlyAll = 90;  // percent
  for (const LivePool& pool : live.pools)
    if (pool.addresses > 0 && 100 * pool.leased >= kNearlyAll * pool.addresses)
      findings.add("dhcp-pool-nearly-used", "network " + pool.network,
                   fmt::format("{} of {} addresses are leased", pool.leased, pool.addresses));
}

}  // namespace

void check_networks(const Patient& patient, Findings& findings) {
  for (const config::Network& network : patient.config.networks) {
    check_subnet(patient, network, findings);
    check_dns(patient, network, findings);
    check_resolvers(patient, network, findings);
  }
  if (patient.live == nullptr) return;
  check_pools(*patient.live, findings);
  if (patient.live->recent_refusals > 0)
    findings.add("sessions-refused", "sessions",
                 fmt::format("{} were refused lately", patient.live->recent_refusals));
}

}  // namespace vmnat::doctor
