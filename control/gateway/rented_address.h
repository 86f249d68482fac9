// SPDX-License-Identifier: Apache-2.0
// RentedAddress: the external address that DHCP gives, set and taken away while the workers forward.
//
// It never changes under a session. From A to B:
//
//   1. give_up(), and a state without an address is published: no flow opens any more, nothing goes out by A
//   2. every worker has finished a poll with that state
//   3. the workers end all sessions of A (as MASQUERADE does when an address goes): poll() says how many
//   4. set(B), and a state with B is published
//
// Steps 2 and 3 are poll()'s. The end of a lease is the same without 4. After a restart the address of the
// process before is there with its sessions, and waits for a lease of the same one; another one begins with 1.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "control/gateway/state_publisher.h"
#include "control/gateway/worker_flush.h"
#include "control/image/session_keeper.h"

namespace vmnat::control {

class RentedAddress {
 public:
  // All of them outlive it. `uplink`: its name; empty: it is the first one.
  RentedAddress(const StatePublisher& states, Workers& workers, FlushTurns& turns,
                SessionKeeper& session_keeper, std::string uplink = {})
      : states_(states),
        workers_(workers),
        turns_(turns),
        session_keeper_(session_keeper),
        uplink_(std::move(uplink)),
        value_(uplink_.empty() ? session_keeper.rented() : session_keeper.rented(uplink_)) {}

  // As it stands in the table of addresses. Unspecified: none. While it is given up: still the former one.
  [[nodiscard]] net::Ipv4Addr value() const { return value_; }
  // There was none, or it was this one.
  void set(net::Ipv4Addr address);

  // The state that is published next has no address.
  void give_up();
  [[nodiscard]] bool is_given_up() const { return is_given_up_; }
  // Once it is gone: how many sessions have ended with it. Called again and again after give_up() until then.
  std::optional<std::uint64_t> poll();

 private:
  const StatePublisher& states_;
  Workers& workers_;
  FlushTurns& turns_;
  SessionKeeper& session_keeper_;
  std::string uplink_;
  net::Ipv4Addr value_;
  bool is_given_up_ = false;
  std::uint64_t awaited_state_ = 0;   // generation of the state without an address
  std::optional<WorkerFlush> flush_;  // once all workers have seen it
};

}  // namespace vmnat::control
