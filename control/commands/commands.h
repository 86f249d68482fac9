// SPDX-License-Identifier: Apache-2.0
// What vmnatd answers on the admin socket; admin/README.md has the shapes.
//
// Everything is read from counters and snapshots: no command makes a worker wait.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/time.h"
#include "control/admin/server.h"
#include "control/slow_path/slow_path.h"
#include "control/watch/resolver_watch.h"

namespace vmnat::control {

// What the commands look at; all of it outlives the server.
struct Surroundings {
  const config::Config& config;
  std::string config_path;
  const EalPlan& eal;
  Launched& launched;
  SlowPath& slow_path;
  const ResolverWatch& resolvers;
  std::function<Result<std::vector<std::string>>()> reload;  // what has changed, in sentences
  SteadyTime started;
};

void register_commands(admin::Server& server, const Surroundings& surroundings);

}  // namespace vmnat::control
