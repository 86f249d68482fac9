// SPDX-License-Identifier: Apache-2.0
// UplinkClient: the uplink's address when DHCP gives it (`uplink.address: dhcp`), from the lease to the
// workers.
//
// dhcp::Client speaks the protocol; this class makes of its lease what the workers forward by. The address is
// never changed under a session. From A to B:
//
//   1. a state without an address is published: no flow opens any more, nothing goes out by A
//   2. every worker has finished a poll with that state
//   3. the workers end all sessions of A (as MASQUERADE does when an address goes)
//   4. the rented address becomes B, a state with B, its router, MTU and forwards is published; B is
//   announced
//
// The end of a lease is the same without 4. Leases last by the boot clock: one that ended while the machine
// slept is given up when it wakes. A lease that only changes router, MTU or times ends no session.
// A lease that contradicts the configuration (it overlaps a network, or is an address of `nat.addresses`) is
// held, but not used; problem() says why.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/time.h"
#include "control/config/model.h"
#include "control/gateway/launch.h"
#include "control/hosts/own_addresses.h"
#include "control/log/log_budget.h"
#include "control/system/boot_clock.h"
#include "dhcp/client.h"

namespace vmnat::control {

class UplinkClient {
 public:
  // All of them outlive it. What it has to send goes out through `neighbors`.
  UplinkClient(const config::Config& config, Launched& launched, Neighbors& neighbors,
               OwnAddresses& own_addresses);

  // The link has come up, for the first time or again.
  void link_up();
  void receive(std::span<const std::byte> frame) { client_.receive(frame, boot_time()); }
  void receive_arp(std::span<const std::byte> frame) { client_.receive_arp(frame, boot_time()); }
  // What is due. True: the workers need a new state, see describe().
  bool advance(SteadyTime now);
  void describe(dataplane::ForwardingState& next) const;

  // What is forwarded by; nothing while there is no lease, or none that can be used.
  [[nodiscard]] const std::optional<dhcp::Binding>& in_effect() const { return in_effect_; }
  [[nodiscard]] net::Ipv4Addr rented() const {
    return in_effect_ ? in_effect_->address.address : net::Ipv4Addr{};
  }
  [[nodiscard]] const dhcp::Client& client() const { return client_; }
  // Why there is no address although there is a lease; else empty.
  [[nodiscard]] const std::string& problem() const { return problem_; }
  // Sessions ended because their address went.
  [[nodiscard]] std::uint64_t sessions_ended() const { return sessions_ended_; }

 private:
  enum class Phase { Settled, Quiescing, Ending };

  void tell(dhcp::ClientNews news, SteadyTime now);
  void send_output(SteadyTime now);
  [[nodiscard]] std::string contradiction(const dhcp::Binding& binding) const;
  std::optional<dhcp::Binding> usable_lease(SteadyTime now);
  bool settle(SteadyTime now);
  bool give_up_address();
  bool take(const dhcp::Binding& lease, SteadyTime now);
  void keep_in_mind(net::Ipv4Addr address) const;

  const config::Config& config_;
  Launched& launched_;
  Neighbors& neighbors_;
  OwnAddresses& own_addresses_;
  LogBudget log_;
  std::string memory_path_;
  dhcp::Client client_;
  std::string problem_;
  Phase phase_ = Phase::Settled;
  net::Ipv4Addr former_;             // whose sessions end
  std::uint64_t awaited_state_ = 0;  // generation of the state without an address
  std::shared_ptr<WorkerFlush> flush_;
  std::uint64_t sessions_ended_ = 0;
  std::optional<dhcp::Binding> in_effect_;
};

}  // namespace vmnat::control
