// SPDX-License-Identifier: Apache-2.0
// ResolverWatch: the resolvers that VMs are told by default, as those of this host change.
//
// The host's files are read once a second, whatever has become of them: written anew in place, replaced by
// rename, a link to somewhere else, gone. What two looks in a row have found is taken, so that a file that is
// being written is not. Networks whose `dhcp.dns` names resolvers are none of this.
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
