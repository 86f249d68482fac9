// SPDX-License-Identifier: Apache-2.0
// ResolverWatch: follows the resolvers of this host, which VMs are told by default.
//
// The host's files are read once a second, however they have changed: written in place, replaced by rename, a
// link to somewhere else, gone. A change counts when two looks in a row have found it, so a file that is half
// written is not taken. Networks whose `dhcp.dns` names resolvers are left alone.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "control/config/model.h"
#include "control/config/resolvers.h"

namespace vmnat::control {

class ResolverWatch {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Read = std::function<std::vector<net::Ipv4Addr>()>;
  static constexpr std::chrono::seconds kPause{1};

  // `config` is what is in effect, with the resolvers that were read with its file; it outlives the watch.
  explicit ResolverWatch(config::Config& config, Read read = config::host_resolvers);

  // True when networks of `config` have other resolvers since: VMs are to be told.
  bool look(Time now);
  // What resolver_problem() says now, for the log: a line when that has changed.
  void tell(const std::string& problem);
  [[nodiscard]] const std::vector<net::Ipv4Addr>& of_host() const { return taken_; }

 private:
  config::Config& config_;
  Read read_;
  std::vector<net::Ipv4Addr> taken_, seen_;  // `seen_`: at the last look
  Time next_{};
  std::string told_;
};

// Which networks' VMs are told no resolver, though DHCP is to tell them one, in a sentence; empty: none.
// `of_lease`: those that the uplink's lease names.
std::string resolver_problem(const config::Config& config, const std::vector<net::Ipv4Addr>& of_lease);

}  // namespace vmnat::control
