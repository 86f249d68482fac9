// SPDX-License-Identifier: Apache-2.0
#include "control/commands/session_flush.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "control/commands/session_rows.h"

namespace vmnat::control {

using admin::Answer;
using admin::Json;
using admin::Pull;
using dataplane::SessionSelector;

namespace {

SessionSelector::Endpoint selected(const admin::EndpointFilter& filter) {
  return {.address = filter.address, .port = filter.port};
}

// A bit for each state of that name: "open" is three.
std::uint32_t states_named(const std::string& name) {
  std::uint32_t states = 0;
  for (unsigned i = 0; i < conntrack::kSessionStates; ++i)
    if (name == conntrack::to_string(static_cast<conntrack::SessionState>(i))) states |= 1u << i;
  return states & ~1u;  // a free record is no session
}

std::optional<Error> wrong_argument(const Json& arguments) {
  for (const char* other : {"limit", "count"})
    if (arguments.contains(other)) return Error{other, "is not an argument of this command"};
  const auto all = arguments.find("all");
  if (all != arguments.end() && !all->is_boolean()) return Error{"all", "must be true or false"};
  return std::nullopt;
}

bool says_all(const Json& arguments) {
  return arguments.contains("all") && arguments["all"] == true;
}

}  // namespace

Result<SessionSelector> selector_for(const admin::SessionFilter& filter, const config::Config& config,
                                     const std::vector<PortPlan>& ports) {
  SessionSelector selector;
  if (filter.network) {
    const auto network = std::ranges::find(config.networks, *filter.network, &config::Network::name);
    selector.policy = static_cast<std::uint16_t>(network - config.networks.begin());
  }
  if (filter.port) {
    const auto port = std::ranges::find_if(
        ports, [&](const PortPlan& plan) { return plan.exists && plan.name == *filter.port; });
    selector.port = static_cast<PortIndex>(port - ports.begin());
  }
  selector.protocol = filter.protocol;
  if (filter.internal) selector.internal = selected(*filter.internal);
  if (filter.external) selector.external = selected(*filter.external);
  if (filter.remote) selector.remote = selected(*filter.remote);
  if (filter.state) selector.states = states_named(*filter.state);
  if (selector.states == 0)
    return tl::unexpected(Error{"state", fmt::format("there is no state {}", *filter.state)});
  return selector;
}

Result<Answer> SessionFlusher::flush(const Json& arguments) {
  if (const auto wrong = wrong_argument(arguments)) return tl::unexpected(*wrong);
  const auto filter = admin::session_filter(arguments, "all");
  if (!filter) return tl::unexpected(filter.error());
  if (filter->is_empty() && !says_all(arguments))
    return tl::unexpected(Error{"", "give a filter, or all to end every session"});
  if (const auto error = unknown_name(config_, *filter)) return tl::unexpected(*error);
  const auto selector = selector_for(*filter, config_, ports_);
  if (!selector) return tl::unexpected(selector.error());
  const auto flush = std::make_shared<WorkerFlush>(workers_, turns_, *selector);
  return Answer::object_later([flush](Json& item) {
    const auto flushed = flush->poll();
    if (!flushed) return Pull::Later;
    item = {{"flushed", *flushed}};
    return Pull::Item;
  });
}

}  // namespace vmnat::control
