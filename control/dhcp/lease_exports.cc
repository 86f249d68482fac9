// SPDX-License-Identifier: Apache-2.0
#include "control/dhcp/lease_exports.h"

#include <spdlog/spdlog.h>

#include "control/system/whole_file.h"
#include "dhcp/exports.h"

namespace vmnat::control {
namespace {

constexpr std::chrono::seconds kAtMostOnceIn{1};

}  // namespace

void LeaseExports::write(const config::DhcpExports& paths, std::span<const dhcp::Lease> leases,
                         SteadyTime now) {
  const SteadyTime begun = std::chrono::steady_clock::now();
  Result<void> written{};
  if (paths.dnsmasq) written = replace_file(*paths.dnsmasq, dhcp::dnsmasq_lease_lines(leases), Writing::Fast);
  if (paths.libvirt && written)
    written = replace_file(*paths.libvirt, dhcp::libvirt_status(leases), Writing::Fast);
  const bool is_news = !written && problem_.empty();
  problem_ = written ? "" : "leases are not exported: " + to_string(written.error());
  if (is_news) spdlog::error("{}", problem_);
  stale_ = !written;
  next_ = next_turn(begun, now, kAtMostOnceIn);
}

}  // namespace vmnat::control
