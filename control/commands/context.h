// SPDX-License-Identifier: Apache-2.0
// CommandContext: what the admin commands look at, and what some of them change. All of it outlives the
// server.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "control/changes/configuration.h"
#include "control/dns/dns_service.h"
#include "control/doctor/watch.h"
#include "control/gateway/gateway.h"
#include "control/observe/listeners.h"
#include "control/observe/observers.h"
#include "control/slow_path/slow_path.h"
#include "control/translations/translation_log.h"
#include "control/watch/resolver_watch.h"

namespace vmnat::control {

struct CommandContext {
  const config::Config& config;    // what is in effect
  const config::Config& numbered;  // the same with its networks at their numbers
  const Configuration& configuration;
  const EalPlan& eal;
  const std::vector<PortPlan>& ports;  // by PortIndex
  const PortAccounts& port_accounts;   // the same
  const RulePlan& rules;               // in effect
  Devices& devices;                    // the same
  const std::optional<NicSteering>& steering;
  const StatePublisher& states;
  Workers& workers;  // `invariants` and `flush` ask them to do something
  FlushTurns& flush_turns;
  Observers& observers;           // `capture` adds to them
  Listeners& listeners;           // `sessions` with `watch`
  SessionKeeper& session_keeper;  // counters are kept as they are told
  const VmPlaces& places;
  DhcpService& dhcp;  // `lease-release` and the like change leases
  const Uplinks& uplinks;
  const InsideHosts& inside;
  const SwitchTables& tables;
  const Injector& injector;
  const LiveNat& nat;
  const DnsService& dns;
  const ResolverWatch& resolvers;
  const TranslationLog& translations;
  const doctor::Watch& doctor_watch;
  // Both answer what has changed, in sentences, as soon as the workers have been told of it.
  std::function<Result<std::vector<std::string>>()> reload;
  std::function<Result<std::vector<std::string>>(const EditRequest&)> edit;
  std::function<bool()> is_change_under_way;  // until all of it holds
  // Whether there are numbers, addresses and packet buffers for it; not asked while a change is under way.
  std::function<Result<void>(const config::Config&)> has_room;
  SteadyTime started;
};

}  // namespace vmnat::control
