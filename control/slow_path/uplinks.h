// SPDX-License-Identifier: Apache-2.0
// Uplinks: control's parts on the links of all uplinks, and which of them each network is on.
//
// Each UplinkSide says whether its uplink can be used; UplinkFailover says from that where a network is to be. wanted()
// asks for a move, its owner changes the NAT (gateway/live_nat.h), and take() makes it the case. With one uplink nothing
// ever moves.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/time.h"
#include "control/config/model.h"
#include "control/log/log_budget.h"
#include "control/plan/forwards.h"
#include "control/plan/static_nat.h"
#include "control/slow_path/uplink_side.h"
#include "control/uplink/failover.h"

namespace vmnat::control {

class Uplinks {
 public:
  // By uplink; nothing where the configuration gives the address.
  using Rents = std::vector<std::optional<RentedAddress>>;
  // All of them outlive it. `config` has its networks at their numbers, and `ways` says where they are.
  Uplinks(const config::Config& config, const NetworkWays& ways, const StatePublisher& states,
          const Rents& rents, LogBudget& log);

  [[nodiscard]] std::size_t size() const { return sides_.size(); }
  [[nodiscard]] const UplinkSide& operator[](std::size_t number) const { return sides_[number]; }
  [[nodiscard]] UplinkSide& operator[](std::size_t number) { return sides_[number]; }

  void resolve_routers(SteadyTime now);
  void prepare(const config::Config& wanted, SteadyTime now);
  [[nodiscard]] bool is_prepared(SteadyTime now) const;
  void adopt_prepared();
  // What is due. True: a lease has come into effect, or changed.
  bool advance(SteadyTime now);
  // The state that was filled in last is out of date.
  [[nodiscard]] bool has_changed() const;
  void fill(dataplane::ForwardingState& next);

  // Where the networks of a configuration, which are at their numbers, are to be: those that are there stay where they
  // are, the others go where they are best.
  [[nodiscard]] NetworkWays ways_for(const config::Config& wanted, SteadyTime now) const;
  // Where networks are to go now; nothing: they stay.
  [[nodiscard]] std::optional<NetworkWays> wanted(SteadyTime now) const;
  // They are there from now on. Tells the log of those that have moved.
  void take(const config::Config& config, const NetworkWays& ways, SteadyTime now);
  [[nodiscard]] const NetworkWays& ways() const { return ways_; }

  [[nodiscard]] Rented rented() const;
  // Of all leases, in the order of the file, each once.
  [[nodiscard]] std::vector<net::Ipv4Addr> resolvers_of_leases() const;
  [[nodiscard]] bool is_waiting_for_lease() const;
  // As they stand with the addresses that networks have now.
  [[nodiscard]] std::vector<ForwardPlan> forwards() const;
  [[nodiscard]] std::vector<dataplane::AddressPair> static_nat() const { return plan_static_nat(config_); }
  [[nodiscard]] std::vector<net::Ipv4Addr> external_addresses(const config::Network& network) const;

  [[nodiscard]] std::vector<std::string> networks_on(std::size_t number) const;
  [[nodiscard]] bool is_dead(std::size_t number) const { return is_dead_[number]; }
  // Why it cannot be used, in words; empty: it can.
  [[nodiscard]] std::string trouble_text(std::size_t number) const;
  // How often networks have come to it from another one.
  [[nodiscard]] std::uint64_t switches(std::size_t number) const { return switches_[number]; }

 private:
  using Moves = std::map<std::pair<PortIndex, PortIndex>, std::vector<std::string>>;  // from, to: networks

  void look(std::size_t number, SteadyTime now);
  void tell(const Moves& moves, SteadyTime now);
  void tell_dead(std::size_t number, SteadyTime now);
  [[nodiscard]] PortIndex preferred(const config::Config& config, std::size_t network) const {
    return static_cast<PortIndex>(config::preferred_uplink(config, config.networks[network].name));
  }

  const config::Config& config_;  // what is in effect
  LogBudget& log_;
  std::deque<UplinkSide> sides_;
  UplinkFailover failover_;
  NetworkWays ways_;
  std::map<std::string, PortIndex> ways_by_name_;
  std::vector<bool> is_dead_;
  std::vector<std::uint64_t> switches_;
};

}  // namespace vmnat::control
