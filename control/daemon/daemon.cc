// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/daemon.h"

#include <boost/asio/post.hpp>
#include <cstdio>
#include <ctime>
#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <systemd/sd-daemon.h>
#include <utility>

#include "control/commands/commands.h"
#include "control/commands/live_facts.h"
#include "control/commands/statistics.h"
#include "control/config/reload.h"
#include "control/http/token.h"

namespace vmnat::control {
namespace {

void count(const Result<std::vector<std::string>>& changed, metrics::ChangeCounts::Results& results) {
  ++(!changed ? results.refused : changed->empty() ? results.unchanged : results.applied);
}

// The slow path's clock: what a DHCP or ARP answer waits for at most, and some 500 wake-ups a second. While
// nothing comes at all, neither to control nor to any worker, the doorbell rings for what comes, and whenever a
// worker gets up, whose tables need pages; the tick is for what time brings, and for links that tell nobody.
constexpr std::chrono::milliseconds kTick{2}, kQuietTick{8}, kRestingTick{40};
// Of each tick at most, for pages of the session tables: frames that were punted meanwhile wait as long.
constexpr std::chrono::milliseconds kPopulating{2};

// Of the service manager, after which it takes us for dead; 0: it does not look.
std::chrono::microseconds watchdog() {
  std::uint64_t microseconds = 0;
  return std::chrono::microseconds(sd_watchdog_enabled(0, &microseconds) > 0 ? microseconds : 0);
}

}  // namespace

Daemon::Daemon(Configuration& configuration, Gateway& gateway)
    : configuration_(configuration),
      config_(configuration.in_effect()),
      gateway_(gateway),
      workers_(gateway.workers()),
      stop_signals_(io_, SIGTERM, SIGINT),
      hangup_signal_(io_, SIGHUP),
      timer_(io_),
      doorbell_(gateway.control_doorbell()),
      rings_(io_),
      slow_path_(gateway),
      exhaustion_(gateway.config(), gateway.ports()),
      dns_(io_, config_.control.socket),
      resolvers_(config_),
      pause_between_looks_(pause_between_looks(watchdog())),
      table_pages_(workers_.tables()),
      observers_(gateway.states(), static_cast<unsigned>(workers_.count())),
      listeners_(gateway.states(), static_cast<unsigned>(workers_.count())),
      translations_(listeners_, workers_) {}

Result<std::unique_ptr<Daemon>> Daemon::create(Configuration& configuration, const EalPlan& eal,
                                               Gateway& gateway, admin::AccessRules access) {
  std::unique_ptr<Daemon> daemon(new Daemon(configuration, gateway));
  const std::string& socket = daemon->config_.control.socket;
  const auto group = access.group;
  auto server = admin::Server::listen(daemon->io_, socket, std::move(access));
  if (!server) return tl::unexpected(server.error());
  if (const auto closed = group ? admin::closed_directory(socket, *group) : std::nullopt)
    spdlog::warn("{} is closed to the members of control.group, and so is the admin socket", *closed);
  daemon->admin_ = std::move(*server);
  daemon->context_.emplace(daemon->context_for_commands(eal, gateway));
  register_commands(*daemon->admin_, *daemon->context_);
  if (auto served = daemon->serve_http(*daemon->context_); !served) return tl::unexpected(served.error());
  daemon->telemetry_.emplace(*daemon->context_);
  daemon->translations_.set_names(gateway.config(), gateway.ports());
  if (auto logged = daemon->translations_.follow(daemon->config_.log.translations,
                                                 *gateway.states().current().external_addresses);
      !logged)
    return tl::unexpected(logged.error());
  daemon->dns_.follow_configuration(daemon->config_);
  daemon->slow_path_.dhcp().use_gateway_as_resolver(daemon->dns_.is_installed());
  return daemon;
}

// On control.metrics, and over the admin socket.
Result<void> Daemon::serve_http(const CommandContext& context) {
  const auto ask = [this](const std::string& command, admin::Access access, const admin::Json& arguments) {
    return admin_->ask(command, access, arguments);
  };
  http_ = http::Server::create(
      io_, http::Site(ask, [this](http::Exposition form) { return metrics_->scrape(form); }));
  metrics_ = std::make_unique<metrics::Metrics>(context, gateway_.worker_rings(), gateway_.packet_pools(),
                                                changes_, *http_);
  if (const auto& file = config_.control.token_file) {
    auto token = http::read_token(*file);
    if (!token) return tl::unexpected(token.error());
    http_->set_token(*std::move(token));
  }
  admin_->hand_over_to([this](int socket, admin::Access access) { http_->adopt(socket, access); });
  return http_->listen(config_.control.metrics);
}

CommandContext Daemon::context_for_commands(const EalPlan& eal, Gateway& gateway) {
  return {.config = config_,
          .numbered = gateway.config(),
          .configuration = configuration_,
          .eal = eal,
          .ports = gateway.ports(),
          .port_accounts = gateway.port_accounts(),
          .rules = gateway.rules(),
          .devices = gateway.devices(),
          .steering = gateway.steering(),
          .states = gateway.states(),
          .workers = gateway.workers(),
          .flush_turns = gateway.flush_turns(),
          .observers = observers_,
          .listeners = listeners_,
          .session_keeper = gateway.session_keeper(),
          .places = slow_path_.places(),
          .dhcp = slow_path_.dhcp(),
          .uplinks = slow_path_.uplinks(),
          .inside = slow_path_.inside(),
          .tables = slow_path_.tables(),
          .injector = slow_path_.injector(),
          .nat = slow_path_.nat(),
          .dns = dns_,
          .resolvers = resolvers_,
          .translations = translations_,
          .doctor_watch = doctor_watch_,
          .reload = [this] { return reload(); },
          .edit = [this](const EditRequest& request) { return edit(request); },
          .is_change_under_way = [this] { return slow_path_.is_change_under_way(); },
          .has_room = [this](const config::Config& wanted) -> Result<void> {
            const auto next = plan_change(wanted);
            if (!next) return tl::unexpected(next.error());
            return {};
          },
          .started = std::chrono::steady_clock::now()};
}

void Daemon::run() {
  stop_signals_.async_wait([this](const boost::system::error_code& error, int signal) {
    if (error) return;
    spdlog::info("stops on signal {}", signal);
    sd_notify(0, "STOPPING=1");
    io_.stop();
  });
  wait_for_hangup();
  wait_for_doorbell();
  boost::asio::post(io_, [] {
    sd_notify(0, "READY=1");
    fmt::print(stderr, "vmnatd ready\n");
  });
  tick();
  io_.run();
  admin_.reset();  // what it has asked the workers for ends before them
  workers_.stop();
  translations_.stop();
  keep_counts(*context_);
}

void Daemon::wait_for_hangup() {
  hangup_signal_.async_wait([this](const boost::system::error_code& error, int) {
    if (error) return;
    wants_reload_ = true;
    translations_.reopen();
    reload_if_wanted();
    wait_for_hangup();
  });
}

// One change at a time: SIGHUP comes when it likes.
void Daemon::reload_if_wanted() {
  if (!wants_reload_ || slow_path_.is_change_under_way()) return;
  wants_reload_ = false;
  reload();
}

Result<std::vector<std::string>> Daemon::reload() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld", now.tv_sec * 1'000'000LL + now.tv_nsec / 1000);
  auto changed = carry_out(configuration_.reread());
  count(changed, changes_.reloads);
  changes_.was_last_reload_refused = !changed.has_value();
  if (!changed)
    spdlog::error("reload refused: {}", to_string(changed.error()));
  else if (changed->empty())
    spdlog::info("reload: nothing has changed");
  else
    for (const std::string& change : *changed) spdlog::info("reload: {}", change);
  sd_notify(0, "READY=1");
  return changed;
}

Result<std::vector<std::string>> Daemon::edit(const EditRequest& request) {
  auto changed = carry_out(configuration_.edited(request, resolvers_.of_host()));
  count(changed, changes_.edits);
  if (!changed)
    spdlog::warn("{} refused: {}", request.command, to_string(changed.error()));
  else
    for (const std::string& change : *changed) spdlog::info("{}: {}", request.command, change);
  return changed;
}

// What is to survive a restart is on the disk before anything changes, and in its place after everything has.
Result<std::vector<std::string>> Daemon::carry_out(Result<Proposal> proposal) {
  if (!proposal) return tl::unexpected(proposal.error());
  auto kept = configuration_.keep(*proposal);
  if (!kept) return tl::unexpected(kept.error());
  auto changed = change_to(proposal->wanted);
  if (!changed) return changed;
  if (const auto taken = configuration_.take_over(*std::move(proposal), *std::move(kept)); !taken)
    return tl::unexpected(taken.error());
  return changed;
}

// All or nothing: what the gateway cannot have, control does not take over either.
Result<std::vector<std::string>> Daemon::change_to(const config::Config& wanted) {
  Changes changes = compare(config_, wanted);
  if (!changes.restart.empty()) return tl::unexpected(Error{"", restart_sentence(changes.restart)});
  if (changes.live.empty()) return std::move(changes.live);
  auto next = plan_change(wanted);
  if (!next) return tl::unexpected(next.error());
  if (auto listens = http_->listen(wanted.control.metrics); !listens) return tl::unexpected(listens.error());
  translations_.set_names(next->config, next->ports);
  const auto change = gateway_.reconfigure(*std::move(next));
  if (!change) {
    translations_.set_names(gateway_.config(), gateway_.ports());
    http_->listen(config_.control.metrics);
    slow_path_.publish_anew();
    return tl::unexpected(change.error());
  }
  if (const auto logged =
          translations_.follow(wanted.log.translations, *gateway_.states().current().external_addresses);
      !logged)
    spdlog::error("{}", to_string(logged.error()));
  config_ = wanted;
  slow_path_.follow_configuration(*change, std::chrono::steady_clock::now(),
                                  std::chrono::system_clock::now());
  dns_.follow_configuration(config_);
  return std::move(changes.live);
}

Result<GatewayPlan> Daemon::plan_change(const config::Config& wanted) {
  auto next = gateway_.plan(wanted);
  if (!next) return next;
  if (const auto possible = slow_path_.plan_change(next->config); !possible)
    return tl::unexpected(possible.error());
  return next;
}

void Daemon::tick() {
  const SteadyTime now = std::chrono::steady_clock::now();
  if (is_resting_) doorbell_.listen();  // the look that has to follow is all below
  slow_path_.poll(now, std::chrono::system_clock::now());
  gateway_.advance(now);
  metrics_->advance(now);
  reload_if_wanted();
  if (now >= next_second_) {
    next_second_ = now + std::chrono::seconds(1);
    follow_resolvers(now);
    dns_.advance(config_, slow_path_.dhcp(), now);
    const Counts counts = keep_counts(*context_);
    telemetry_->show(counts);
    look_for_doctor(*context_, counts, now, doctor_watch_);
    if (const auto news = exhaustion_.news(workers_.refused_remotes())) spdlog::warn("{}", *news);
  }
  if (now >= next_look_) watch_workers(now);
  timer_.expires_after(time_to_next_tick(now));
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) tick();
  });
}

// It rests, with the doorbell on, from the second tick on that finds nothing to do: if workers rest, too.
std::chrono::milliseconds Daemon::time_to_next_tick(SteadyTime now) {
  const bool is_behind = table_pages_.populate(kPopulating);
  const bool is_quiet = slow_path_.is_quiet(now) && !is_behind && !metrics_->is_counting();
  const std::uint64_t busy_cycles = workers_.busy_cycles();
  const bool are_workers_idle = std::exchange(busy_cycles_, busy_cycles) == busy_cycles &&
                                config_.dataplane.idle == config::Idle::Adaptive;
  const bool was_resting = std::exchange(is_resting_, is_quiet && are_workers_idle && rings_.is_open());
  if (is_resting_ && was_resting) return kRestingTick;
  doorbell_.ignore();
  return is_quiet ? kQuietTick : kTick;
}

void Daemon::wait_for_doorbell() {
  if (doorbell_.descriptor() < 0) return;
  if (boost::system::error_code error; !rings_.is_open()) {
    rings_.assign(fcntl(doorbell_.descriptor(), F_DUPFD_CLOEXEC, 0), error);
    if (error) return;  // it never rests then
  }
  rings_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                    [this](const boost::system::error_code& error) {
                      if (error) return;
                      eventfd_t rung = 0;
                      eventfd_read(rings_.native_handle(), &rung);
                      is_resting_ = false;
                      tick();
                      wait_for_doorbell();
                    });
}

// While a lease is waited for, what it will name is not known.
void Daemon::follow_resolvers(SteadyTime now) {
  if (resolvers_.look(now)) {
    gateway_.take_over(config_);
    slow_path_.dhcp().reconfigure();
  }
  if (slow_path_.uplinks().is_waiting_for_lease()) return;
  resolvers_.tell(resolver_problem(config_, slow_path_.uplinks().resolvers_of_leases()));
}

// The service manager hears from us only while every worker goes on.
void Daemon::watch_workers(SteadyTime now) {
  next_look_ = now + pause_between_looks_;
  std::vector<std::uint64_t> polls;
  for (const dataplane::Worker& worker : workers_) polls.push_back(worker.polls());
  const auto progress = progress_.look(polls, now);
  for (const std::string& news : progress.news) spdlog::warn("{}", news);
  if (progress.all_go_on) sd_notify(0, "WATCHDOG=1");
}

}  // namespace vmnat::control
