// SPDX-License-Identifier: Apache-2.0
#include "control/commands/session_list.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "control/observe/endpoint_text.h"

namespace vmnat::control {
namespace {

using admin::Answer;
using admin::Json;
using admin::Pull;
using admin::SessionFilter;
using conntrack::SessionView;

constexpr std::size_t kChunk = 256;        // sessions copied at a time
constexpr unsigned kMissesPerPull = 4096;  // that do not match, before others get their turn

double seconds(Ticks ticks) {
  return std::chrono::duration<double>(ticks).count();
}

// The tables of all workers, one after the other, chunk by chunk.
class SessionCursor {
 public:
  SessionCursor(const config::Config& config, const std::vector<PortPlan>& ports, const Workers& workers,
                SessionFilter filter)
      : config_(config), ports_(ports), workers_(workers), filter_(std::move(filter)), left_(filter_.limit) {}

  // The next session that matches; each is answered once.
  Pull next(Json& item) {
    SessionView view{};
    const Pull pull = next_match(view);
    if (pull == Pull::Item) item = to_json(view);
    return pull;
  }
  Pull next_match(SessionView& view) {
    if (filter_.limit != 0 && left_ == 0) return Pull::End;
    for (unsigned misses = 0; misses < kMissesPerPull;) {
      if (at_ == filled_ && !refill()) return Pull::End;
      if (at_ == filled_) continue;
      view = chunk_[at_++];
      if (!matches(view)) {
        ++misses;
        continue;
      }
      if (filter_.limit != 0) --left_;
      return Pull::Item;
    }
    return Pull::Later;
  }

 private:
  // False when all workers have been read.
  bool refill() {
    if (worker_ == workers_.count()) return false;
    at_ = 0;
    filled_ = workers_[worker_].conntrack().snapshot(cursor_, chunk_);
    if (filled_ < chunk_.size()) {
      ++worker_;
      cursor_ = 0;
    }
    return true;
  }

  [[nodiscard]] const std::string& port_name(const SessionView& view) const {
    return ports_[view.vm_port].name;
  }
  [[nodiscard]] const std::string& network_name(const SessionView& view) const {
    return config_.networks[view.policy].name;
  }

  // Those of a port or network that has left are about to end.
  [[nodiscard]] bool matches(const SessionView& view) const {
    return ports_[view.vm_port].exists && !network_name(view).empty() &&
           (!filter_.network || *filter_.network == network_name(view)) &&
           (!filter_.port || *filter_.port == port_name(view)) &&
           (!filter_.state || *filter_.state == conntrack::to_string(view.state)) &&
           (!filter_.protocol || *filter_.protocol == view.protocol) &&
           (!filter_.internal || filter_.internal->matches(view.internal)) &&
           (!filter_.external || filter_.external->matches(view.external)) &&
           (!filter_.remote || filter_.remote->matches(view.remote));
  }

  [[nodiscard]] Json to_json(const SessionView& view) const {
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

  const config::Config& config_;
  const std::vector<PortPlan>& ports_;
  const Workers& workers_;
  SessionFilter filter_;
  std::uint64_t left_;
  std::size_t worker_ = 0;
  std::uint32_t cursor_ = 0;
  std::array<SessionView, kChunk> chunk_{};
  std::size_t filled_ = 0;
  std::size_t at_ = 0;
};

Answer count_sessions(std::shared_ptr<SessionCursor> cursor) {
  return Answer::object_later([cursor = std::move(cursor), count = std::uint64_t{0}](Json& item) mutable {
    constexpr unsigned kPerPull = 4096;
    SessionView view{};
    auto pull = Pull::Item;
    for (unsigned i = 0; i < kPerPull && pull == Pull::Item; ++i) {
      pull = cursor->next_match(view);
      if (pull == Pull::Item) ++count;
    }
    if (pull != Pull::End) return Pull::Later;
    item = {{"count", count}};
    return Pull::Item;
  });
}

}  // namespace

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

Result<Answer> list_sessions(const config::Config& config, const std::vector<PortPlan>& ports,
                             const Workers& workers, const Json& arguments) {
  auto filter = admin::session_filter(arguments);
  if (!filter) return tl::unexpected(filter.error());
  if (const auto error = unknown_name(config, *filter)) return tl::unexpected(*error);
  const bool is_count = filter->count;
  auto cursor = std::make_shared<SessionCursor>(config, ports, workers, std::move(*filter));
  if (is_count) return count_sessions(std::move(cursor));
  return Answer::list([cursor](Json& item) { return cursor->next(item); });
}

}  // namespace vmnat::control
