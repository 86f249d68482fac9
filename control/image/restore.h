// SPDX-License-Identifier: Apache-2.0
// Restore: the sessions of an earlier process go on in the tables of this one.
//
// Each record is translated by name, since ports and networks may have other numbers now, checked against the
// configuration, and entered into the table of the worker that its frames come to today: that of its VM's port
// or endpoint, of its remote when the protocol has no ports. Sessions of one port block that belong to several
// workers now cannot all go on: the block is the worker's whose session comes first.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "conntrack/conntrack.h"
#include "control/image/former_image.h"
#include "control/plan/forwards.h"
#include "control/plan/gateway_plan.h"
#include "dataplane/context/forwarding_state.h"

namespace vmnat::control {

// What sessions are checked against. All of it outlives the restore.
struct Today {
  const SessionNames& names;
  const dataplane::ForwardingState& state;
  std::vector<ForwardPlan> forwards;
  const conntrack::ExternalPorts& external_ports;
};

class Restore {
 public:
  // `tables`: by worker, all of today's.
  Restore(const SessionNames& former, const Today& today,
          std::span<const std::unique_ptr<conntrack::Conntrack>> tables);

  // Once, before any worker runs. Says how many sessions became what.
  conntrack::Revivals run(const FormerImage& image, Time now);

 private:
  void read_worker(const FormerImage& image, unsigned worker);
  void consider(const conntrack::Session& record);
  conntrack::Revival translate(conntrack::Former& former) const;
  [[nodiscard]] bool is_forwarded(const conntrack::Session& record, NetworkIndex network) const;
  WorkerIndex worker_of(const conntrack::Former& former);
  void give_pages(std::size_t count);
  void enter(WorkerIndex worker);

  const Today& today_;
  std::span<const std::unique_ptr<conntrack::Conntrack>> tables_;
  std::vector<std::optional<PortIndex>> ports_;                          // by former number
  std::vector<std::optional<NetworkIndex>> networks_;                    // the same
  std::unordered_map<std::uint64_t, dataplane::ForwardRules> forwards_;  // by ForwardingState::forward_word
  // The same, and the internal endpoint.
  std::map<std::pair<std::uint64_t, net::Endpoint>, WorkerIndex> workers_of_forwards_;
  std::vector<conntrack::Session> read_;
  std::vector<std::vector<conntrack::Former>> bursts_;  // by worker: what enters together
  std::vector<std::size_t> given_;                      // by worker: bytes of its records that have pages
  Time now_;
  conntrack::Revivals counts_{};
};

// Ports that were there stay with the workers that they had: their sessions' port blocks are these workers'.
void keep_owners(const SessionNames& former, GatewayPlan& plan);

// Networks begin on the uplinks that they were on, whose addresses their sessions have.
void keep_ways(const SessionNames& former, GatewayPlan& plan);

// "120 sessions go on, 3 do not: 2 timed_out, 1 torn"
std::string to_string(const conntrack::Revivals& counts);

}  // namespace vmnat::control
