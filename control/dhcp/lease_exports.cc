// SPDX-License-Identifier: Apache-2.0
#include "control/dhcp/lease_exports.h"

#include <algorithm>
#include <spdlog/spdlog.h>

#include "control/system/whole_file.h"
#include "dhcp/exports.h"

namespace vmnat::control {
namespace {

constexpr std::chrono::seconds kAtMostOnceIn{1};
constexpr int kShareOfTime = 20;

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
  const auto took = std::chrono::steady_clock::now() - begun;
  next_ = now + std::max<SteadyTime::duration>(kAtMostOnceIn, took * kShareOfTime);
}

}  // namespace vmnat::control
