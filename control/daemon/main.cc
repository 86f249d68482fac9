// SPDX-License-Identifier: Apache-2.0
// vmnatd, from the command line to the last freed buffer.
#include <csignal>
#include <cstdio>
#include <fmt/format.h>
#include <rte_eal.h>

#include "control/config/load.h"
#include "control/daemon/daemon.h"
#include "control/daemon/options.h"
#include "control/devices/eal.h"
#include "control/dns/dns_service.h"
#include "control/gateway/gateway.h"
#include "control/log/log.h"
#include "control/version.h"

namespace vmnat::control {
namespace {

int report_problems(const std::vector<config::Problem>& problems) {
  for (const config::Problem& problem : problems) fmt::print(stderr, "{}\n", config::to_string(problem));
  return kBadConfiguration;
}

// The file alone: what scripts have added to it does not decide whether vmnatd starts.
int check(const std::string& path) {
  std::vector<config::Problem> notes;
  const auto config = config::load_config(path, {.notes = &notes});
  if (!config) return report_problems(config.error());
  report_problems(notes);
  if (const std::string missing = missing_dns_program(*config); !missing.empty())
    fmt::print(stderr, "{}: warning: dns: {}\n", path, missing);
  return kStopped;
}

int cannot_start(const Error& error) {
  spdlog::error("cannot start: {}", to_string(error));
  return kCannotStart;
}

int run(const Options& options) {
  if (options.check_only) return check(options.config_path);
  const auto configuration = Configuration::load(options.config_path);
  if (!configuration) return report_problems(configuration.error());
  const config::Config& config = (*configuration)->in_effect();

  start_log(options.log_level, options.log_format);
  capture_dpdk_log();
  spdlog::info("vmnatd {} starts with {}", kVersion, options.config_path);
  for (const std::string& note : (*configuration)->notes()) spdlog::warn("{}", note);

  auto access = admin::access_rules(config.control.group, config.control.admins);
  if (!access) return cannot_start(access.error());
  std::signal(SIGPIPE, SIG_IGN);  // a VMM may interrupt its guest by a pipe that nobody reads any more
  std::signal(SIGHUP, SIG_IGN);   // until the daemon listens: the file has just been read
  const auto plan = plan_eal(config, this_machine(config));
  if (!plan) return cannot_start(plan.error());
  for (const std::string& note : plan->notes) spdlog::warn("{}", note);
  if (auto started = start_eal(*plan); !started) return cannot_start(started.error());

  // From here on every device is up and the workers forward frames.
  auto gateway = Gateway::start(config, *plan);
  if (!gateway) return cannot_start(gateway.error());

  auto daemon = Daemon::create(**configuration, *plan, **gateway, *std::move(access));
  if (!daemon) return cannot_start(daemon.error());
  (*daemon)->run();

  daemon->reset();
  gateway->reset();
  rte_eal_cleanup();
  spdlog::info("vmnatd stopped");
  return kStopped;
}

}  // namespace
}  // namespace vmnat::control

int main(int argc, char** argv) {
  try {
    const auto parsed = vmnat::control::parse_options(argc, argv);
    return parsed.options ? vmnat::control::run(*parsed.options) : parsed.exit_code;
  } catch (const std::exception& error) {
    fmt::print(stderr, "vmnatd: internal fault: {}\n", error.what());
    return vmnat::control::kInternalFault;
  }
}
