// SPDX-License-Identifier: Apache-2.0
#include "control/daemon.h"

#include <boost/asio/post.hpp>
#include <cstdio>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <systemd/sd-daemon.h>

#include "control/commands.h"

namespace vmnat::control {
namespace {

// The slow path's clock: what a DHCP or ARP answer waits for at most, and some 500 wake-ups a second.
constexpr std::chrono::milliseconds kTick{2};

}  // namespace

Daemon::Daemon(const config::Config& config, Launched& launched)
    : launched_(launched), signals_(io_, SIGTERM, SIGINT), timer_(io_), slow_path_(config, launched) {}

Result<std::unique_ptr<Daemon>> Daemon::create(const config::Config& config, const std::string& config_path,
                                               const EalPlan& eal, Launched& launched) {
  std::unique_ptr<Daemon> daemon(new Daemon(config, launched));
  auto server = admin::Server::listen(daemon->io_, config.control.socket);
  if (!server) return tl::unexpected(server.error());
  daemon->admin_ = std::move(*server);
  register_commands(*daemon->admin_, {.config = config,
                                      .config_path = config_path,
                                      .eal = eal,
                                      .launched = launched,
                                      .slow_path = daemon->slow_path_,
                                      .started = std::chrono::steady_clock::now()});
  return daemon;
}

void Daemon::run() {
  signals_.async_wait([this](const boost::system::error_code& error, int signal) {
    if (error) return;
    spdlog::info("stops on signal {}", signal);
    sd_notify(0, "STOPPING=1");
    io_.stop();
  });
  boost::asio::post(io_, [] {
    sd_notify(0, "READY=1");
    fmt::print(stderr, "vmnatd ready\n");
  });
  tick();
  io_.run();
}

void Daemon::tick() {
  const SteadyTime now = std::chrono::steady_clock::now();
  slow_path_.poll(now, std::chrono::system_clock::now());
  if (now >= next_second_) {
    next_second_ = now + std::chrono::seconds(1);
    watch_workers();
  }
  timer_.expires_after(kTick);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) tick();
  });
}

// The service manager hears from us only while every worker goes on.
void Daemon::watch_workers() {
  bool all_alive = true;
  polls_seen_.resize(launched_.workers().size());
  for (std::size_t i = 0; i < polls_seen_.size(); ++i) {
    const std::uint64_t polls = launched_.workers()[i]->polls();
    all_alive &= polls != polls_seen_[i];
    polls_seen_[i] = polls;
  }
  if (all_alive) sd_notify(0, "WATCHDOG=1");
}

}  // namespace vmnat::control
