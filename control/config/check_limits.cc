// SPDX-License-Identifier: Apache-2.0
// Limits: what of one direction's keys does not go together.
#include "control/config/check.h"

namespace vmnat::config {
namespace {

constexpr std::uint64_t kEthernetHeader = 14;

void check_direction(const std::optional<RateLimit>& limit, std::uint16_t mtu, const std::string& path,
                     Findings& findings) {
  if (!limit) return;
  if (!limit->rate && !findings.given.contains(path + ".rate")) {
    if (limit->burst) findings.complain_at(path + ".burst", "burst: it is a rate's: say the rate, too");
    if (limit->peak) findings.complain_at(path + ".peak", "peak: it is a burst's: say the rate, too");
  }
  const std::uint64_t frame = mtu + kEthernetHeader;
  if (limit->burst && limit->burst->bytes < frame)
    findings.complain_at(path + ".burst", "burst: " + to_text(*limit->burst) +
                                              " is less than a frame, which has up to " +
                                              std::to_string(frame) + " bytes here");
  if (limit->peak && limit->rate && *limit->peak < *limit->rate)
    findings.complain_at(path + ".peak", "peak: " + to_text(*limit->peak) + " is less than the rate, " +
                                             to_text(*limit->rate));
}

void check_limits(const std::optional<RateLimits>& limits, std::uint16_t mtu, const std::string& path,
                  Findings& findings) {
  if (!limits) return;
  check_direction(limits->in, mtu, path + ".in", findings);
  check_direction(limits->out, mtu, path + ".out", findings);
}

}  // namespace

void check_limits(const Config& config, Findings& findings) {
  for (std::size_t i = 0; i < uplink_count(config); ++i)
    check_limits(uplink_at(config, i).limit, uplink_at(config, i).mtu, uplink_path(config, i) + ".limit",
                 findings);
  for (std::size_t n = 0; n < config.networks.size(); ++n) {
    const Network& network = config.networks[n];
    check_limits(network.limit, network.mtu, network_path(n) + ".limit", findings);
    check_limits(network.shared_limit, network.mtu, network_path(n) + ".shared_limit", findings);
    for (std::size_t p = 0; p < network.ports.size(); ++p)
      check_limits(network.ports[p].limit, network.mtu, indexed(network_path(n) + ".ports", p) + ".limit",
                   findings);
  }
}

}  // namespace vmnat::config
