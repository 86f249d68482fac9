// SPDX-License-Identifier: Apache-2.0
// Sessions as the admin socket shows them: with the names of ports and networks, and those that a filter selects.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "conntrack/session_view.h"
#include "control/admin/session_filter.h"
#include "control/gateway/gateway.h"

namespace vmnat::control {

class SessionRows {
 public:
  // `config` has its networks at their numbers. All but the filter outlive it.
  SessionRows(const config::Config& config, const std::vector<PortPlan>& ports, const Workers& workers,
              admin::SessionFilter filter)
      : config_(config), ports_(ports), workers_(workers), filter_(std::move(filter)) {}

  [[nodiscard]] const admin::SessionFilter& filter() const { return filter_; }
  // What the filter wants.
  [[nodiscard]] bool selects(const conntrack::SessionView& view) const;
  // The same, of a port and a network that there are: those of others are about to end.
  [[nodiscard]] bool matches(const conntrack::SessionView& view) const {
    return ports_[view.vm_port].exists && !network_name(view).empty() && selects(view);
  }
  [[nodiscard]] nlohmann::json to_json(const conntrack::SessionView& view) const;

 private:
  [[nodiscard]] const std::string& port_name(const conntrack::SessionView& view) const {
    return ports_[view.vm_port].name;
  }
  [[nodiscard]] const std::string& network_name(const conntrack::SessionView& view) const {
    return config_.networks[view.policy].name;
  }

  const config::Config& config_;
  const std::vector<PortPlan>& ports_;
  const Workers& workers_;
  const admin::SessionFilter filter_;
};

// A name that does not exist is a mistake, not an empty list.
std::optional<Error> unknown_name(const config::Config& config, const admin::SessionFilter& filter);

}  // namespace vmnat::control
