// SPDX-License-Identifier: Apache-2.0
#include "control/plan/live_settings.h"

#include <algorithm>

namespace vmnat::control {
namespace {

dataplane::ExhaustionAnswer answer_of(config::ExhaustionIcmp icmp) {
  switch (icmp) {
    case config::ExhaustionIcmp::HostUnreachable:
      return dataplane::ExhaustionAnswer::HostUnreachable;
    case config::ExhaustionIcmp::Off:
      return dataplane::ExhaustionAnswer::Nothing;
    case config::ExhaustionIcmp::AdminProhibited:
      break;
  }
  return dataplane::ExhaustionAnswer::Prohibited;
}

// DNS is open where it is served.
std::vector<dataplane::HostService> services_of(const config::Network& network) {
  constexpr auto kDns = net::L4Port::from_host(53);
  std::vector<dataplane::HostService> services;
  if (!network.host) return services;
  for (const auto& [protocol, ports] : network.host->services)
    services.push_back({protocol, ports.first, ports.last});
  if (config::serves_dns(network))
    for (const auto protocol : {net::Protocol::Udp, net::Protocol::Tcp})
      services.push_back({protocol, kDns, kDns});
  return services;
}

}  // namespace

void set_live(const config::Config& config, dataplane::ForwardingState& state) {
  constexpr std::uint16_t kHeaders = 40;  // IPv4's and TCP's
  for (std::size_t i = 0; i < config.networks.size(); ++i) {
    const config::Network& network = config.networks[i];
    const std::uint16_t known_mtu = state.uplink_of(static_cast<dataplane::NetworkIndex>(i)).mtu;
    const std::uint16_t uplink_mtu = known_mtu == 0 ? network.mtu : known_mtu;
    const std::uint16_t mtu = std::min(uplink_mtu, network.mtu);
    const auto fitting = static_cast<std::uint16_t>(std::max(mtu, std::uint16_t{kHeaders + 1}) - kHeaders);
    state.networks[i].most_mss = network.nat.mss_clamp.value_or(fitting);
    state.networks[i].resets_mid_stream = network.nat.tcp_mid_stream == config::TcpMidStream::Reset;
    state.networks[i].host.services = services_of(network);
    state.networks[i].exhaustion_answer = answer_of(network.nat.exhaustion_icmp);
  }
}

}  // namespace vmnat::control
