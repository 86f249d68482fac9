// SPDX-License-Identifier: Apache-2.0
// Daemon: the control thread's event loop: signals, the slow path's clock, the admin socket, systemd.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>

#include "control/admin/server.h"
#include "control/slow_path.h"

namespace vmnat::control {

class Daemon {
 public:
  static Result<std::unique_ptr<Daemon>> create(const config::Config& config, const std::string& config_path,
                                                const EalPlan& eal, Launched& launched);

  // Tells the world that it is ready, then serves until a signal asks it to stop.
  void run();

 private:
  Daemon(const config::Config& config, Launched& launched);
  void tick();
  void watch_workers();

  Launched& launched_;
  boost::asio::io_context io_;
  boost::asio::signal_set signals_;
  boost::asio::steady_timer timer_;
  SlowPath slow_path_;
  std::unique_ptr<admin::Server> admin_;
  SteadyTime next_second_{};
  std::vector<std::uint64_t> polls_seen_;  // by worker, at the last second
};

}  // namespace vmnat::control
