// SPDX-License-Identifier: Apache-2.0
#include "control/commands/session_rows.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "control/observe/endpoint_text.h"

namespace vmnat::control {
namespace {

using Json = nlohmann::json;
using admin::SessionFilter;
using conntrack::SessionView;

double seconds(Ticks ticks) {
  return std::chrono::duration<double>(ticks).count();
}

}  // namespace

bool SessionRows::selects(const SessionView& view) const {
  return (!filter_.network || *filter_.network == network_name(view)) &&
         (!filter_.port || *filter_.port == port_name(view)) &&
         (!filter_.state || *filter_.state == conntrack::to_string(view.state)) &&
         (!filter_.protocol || *filter_.protocol == view.protocol) &&
         (!filter_.internal || filter_.internal->matches(view.internal)) &&
         (!filter_.external || filter_.external->matches(view.external)) &&
         (!filter_.remote || filter_.remote->matches(view.remote));
}

Json SessionRows::to_json(const SessionView& view) const {
  const Time now = workers_.now();
  const Ticks idle = now > view.last_seen ? now - view.last_seen : Ticks{0};
  const Ticks rest = view.expires > now ? view.expires - now : Ticks{0};
  // ICMP's remote has no port of its own: the identifier stands for it (RFC 5508 section 3.1).
  net::Endpoint remote = view.remote;
  if (view.protocol == net::Protocol::Icmp) remote.port = view.external.port;
  return {{"network", network_name(view)},
          {"port", port_name(view)},
          {"protocol", net::to_string(view.protocol)},
          {"internal", endpoint_text(view.internal, view.protocol)},
          {"external", endpoint_text(view.external, view.protocol)},
          {"remote", endpoint_text(remote, view.protocol)},
          {"state", conntrack::to_string(view.state)},
          {"idle_s", seconds(idle)},
          {"expires_s", seconds(rest)},
          {"packets_out", view.packets_out},
          {"packets_in", view.packets_in},
          {"bytes_out", view.bytes_out},
          {"bytes_in", view.bytes_in}};
}

std::optional<Error> unknown_name(const config::Config& config, const SessionFilter& filter) {
  const auto& networks = config.networks;
  if (filter.network && filter.network->empty()) return Error{"network", "must not be empty"};
  if (filter.network &&
      std::ranges::find(networks, *filter.network, &config::Network::name) == networks.end())
    return Error{"network", fmt::format("there is no network {}", *filter.network)};
  const auto has_port = [&](const config::Network& network) {
    return std::ranges::find(network.ports, *filter.port, &config::VmPort::name) != network.ports.end();
  };
  if (filter.port && std::ranges::none_of(networks, has_port))
    return Error{"port", fmt::format("there is no VM port {}", *filter.port)};
  return std::nullopt;
}

}  // namespace vmnat::control
