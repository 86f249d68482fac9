// SPDX-License-Identifier: Apache-2.0
// Daemon: the control thread's event loop: signals, the slow path's clock, the admin socket, HTTP, reloads,
// systemd.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>

#include "base/time.h"
#include "control/admin/server.h"
#include "control/changes/configuration.h"
#include "control/commands/context.h"
#include "control/dns/dns_service.h"
#include "control/doctor/watch.h"
#include "control/gateway/table_pages.h"
#include "control/http/server.h"
#include "control/metrics/metrics.h"
#include "control/metrics/telemetry.h"
#include "control/observe/listeners.h"
#include "control/observe/observers.h"
#include "control/slow_path/slow_path.h"
#include "control/translations/translation_log.h"
#include "control/watch/exhaustion.h"
#include "control/watch/progress.h"
#include "control/watch/resolver_watch.h"

namespace vmnat::control {

class Daemon {
 public:
  // `configuration` is what the gateway was started with; reloads and edits write to it, and it outlives the
  // daemon.
  static Result<std::unique_ptr<Daemon>> create(Configuration& configuration, const EalPlan& eal,
                                                Gateway& gateway, admin::AccessRules access);

  // Tells the world that it is ready, then serves until a signal asks it to stop. Stops the workers.
  void run();

 private:
  Daemon(Configuration& configuration, Gateway& gateway);
  [[nodiscard]] CommandContext context_for_commands(const EalPlan& eal, Gateway& gateway);
  Result<void> serve_http(const CommandContext& context);
  void wait_for_hangup();
  // What has changed, in sentences. An Error, one problem a line, means that nothing has.
  Result<std::vector<std::string>> reload();
  Result<std::vector<std::string>> edit(const EditRequest& request);
  Result<std::vector<std::string>> carry_out(Result<Proposal> proposal);
  void reload_if_wanted();
  // What the gateway would be made of; an Error: it has no room for it. Whether devices can be opened is not asked.
  Result<GatewayPlan> plan_change(const config::Config& wanted);
  // The one way to another configuration: the workers are told of all of it, or of nothing.
  Result<std::vector<std::string>> change_to(const config::Config& wanted);
  void tick();
  [[nodiscard]] std::chrono::milliseconds time_to_next_tick(SteadyTime now);
  void wait_for_doorbell();
  void watch_workers(SteadyTime now);
  void follow_resolvers(SteadyTime now);

  Configuration& configuration_;
  config::Config& config_;  // what is in effect
  Gateway& gateway_;
  Workers& workers_;
  boost::asio::io_context io_;
  boost::asio::signal_set stop_signals_, hangup_signal_;
  boost::asio::steady_timer timer_;
  dataplane::Doorbell& doorbell_;
  boost::asio::posix::stream_descriptor rings_;  // the doorbell's
  SlowPath slow_path_;
  ExhaustionWatch exhaustion_;
  DnsService dns_;
  ResolverWatch resolvers_;
  doctor::Watch doctor_watch_;
  ProgressWatch progress_;
  const std::chrono::microseconds pause_between_looks_;  // at the workers
  TablePages table_pages_;
  Observers observers_;
  Listeners listeners_;
  TranslationLog translations_;
  std::optional<CommandContext> context_;
  std::unique_ptr<admin::Server> admin_;
  metrics::ChangeCounts changes_;
  std::unique_ptr<http::Server> http_;
  std::unique_ptr<metrics::Metrics> metrics_;
  std::optional<metrics::Telemetry> telemetry_;
  bool wants_reload_ = false;      // by SIGHUP
  bool is_resting_ = false;        // between this tick and the last one, and until the next
  std::uint64_t busy_cycles_ = 0;  // of the workers, at the last tick
  SteadyTime next_second_{}, next_look_{};
};

}  // namespace vmnat::control
