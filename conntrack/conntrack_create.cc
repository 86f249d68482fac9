// SPDX-License-Identifier: Apache-2.0
// Creating a Conntrack: control's part, the only one that allocates.
#include "conntrack/conntrack.h"

namespace vmnat::conntrack {
namespace {

constexpr std::uint32_t kMaxSessions = 1u << 30;

}  // namespace

std::unique_ptr<Conntrack> Conntrack::create(const Settings& settings, ExternalPorts& ports,
                                             const ExternalAddresses& addresses,
                                             std::span<const NatPolicy> policies) {
  if (settings.capacity == 0 || settings.capacity > kMaxSessions) return nullptr;
  if (addresses.size() > ports.capacity()) return nullptr;
  if (!settings.records.empty() && settings.records.size() != settings.capacity) return nullptr;
  if (policies.size() > kMaxPolicies || settings.worker >= ports.worker_count()) return nullptr;
  std::unique_ptr<Conntrack> conntrack(new Conntrack(settings, ports, addresses));
  if (!conntrack->reserved()) return nullptr;
  conntrack->share_among(settings.guests);
  conntrack->set_policies(policies);
  return conntrack;
}

Conntrack::Conntrack(const Settings& settings, ExternalPorts& ports, const ExternalAddresses& addresses)
    : capacity_(settings.capacity),
      worker_(settings.worker),
      ports_(ports),
      addresses_(&addresses),
      address_count_(addresses.size()),
      hash_(settings.seed),
      random_(~settings.seed),
      sessions_(settings.records.empty() ? ReservedArray<Session>(settings.capacity, settings.placement)
                                         : ReservedArray<Session>(settings.records)),
      sessions_at_(ports.capacity()),
      index_(std::uint64_t{settings.capacity} * 2, settings.placement),
      mappings_(ports.capacity(), settings.capacity, hash_, settings.placement),
      pool_(ports, addresses, settings.worker, random_.next()),
      blocks_(ports.capacity(), settings.seed),
      planes_(hash_),
      permissions_(settings.capacity, hash_, settings.placement),
      vm_ports_(settings.vm_ports),
      vm_port_count_(settings.vm_ports),
      timeouts_(std::size_t{kMaxPolicies} * kTimeoutRow) {}

bool Conntrack::reserved() const {
  return sessions_.reserved() && sessions_at_.reserved() && index_.reserved() && mappings_.reserved() &&
         pool_.reserved() && blocks_.reserved() && planes_.reserved() && permissions_.reserved() &&
         vm_ports_.reserved() && timeouts_.reserved();
}

}  // namespace vmnat::conntrack
