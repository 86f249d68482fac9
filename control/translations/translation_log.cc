// SPDX-License-Identifier: Apache-2.0
#include "control/translations/translation_log.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <unordered_set>

namespace vmnat::control {
namespace {

using conntrack::EventKind;
using conntrack::SessionEvent;

constexpr std::size_t kEvents =
    1 << 18;  // that wait, of each worker: an eighth of a second at two million a second
constexpr std::size_t kFewEvents = 1 << 12;      // of blocks
constexpr unsigned kAtOnce = 4096;               // events, between two writes to the sinks
constexpr std::chrono::milliseconds kPause{10};  // when nothing is there
constexpr std::size_t kChunk = 256;              // sessions copied at a time

TranslationEvent event_for(EventKind kind) {
  switch (kind) {
    case EventKind::Opened:
      return TranslationEvent::Created;
    case EventKind::BlockGiven:
      return TranslationEvent::BlockGiven;
    case EventKind::BlockReturned:
      return TranslationEvent::BlockReturned;
    case EventKind::Changed:  // is not logged
    case EventKind::Ended:
      break;
  }
  return TranslationEvent::Ended;
}

// As they are told when they are given.
std::vector<SessionEvent> blocks_of(const Workers& workers, const conntrack::ExternalAddresses& external) {
  std::vector<SessionEvent> blocks;
  for (const dataplane::Worker& worker : workers)
    for (unsigned address = 0; address < external.size(); ++address)
      for (unsigned first = 0; first < conntrack::kPortBlocks; ++first)
        if (const auto block =
                worker.conntrack().vm_block_at(static_cast<conntrack::ExternalIndex>(address), first))
          blocks.push_back(
              event_of(EventKind::BlockGiven, *block, external.address(block->external), workers.now()));
  return blocks;
}

std::string json_text(const std::string& name) {
  return nlohmann::json(name).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::unique_ptr<Sink> make_sink(const config::LogTarget& target) {
  switch (target.kind) {
    case config::LogTarget::Kind::Json:
      return make_json_file(target.path);
    case config::LogTarget::Kind::Syslog:
      return make_syslog(target.host, target.port);
    case config::LogTarget::Kind::Ipfix:
      return make_ipfix_exporter(target.host, target.port);
  }
  return nullptr;
}

void TranslationLog::set_names(const config::Config& numbered, const std::vector<PortPlan>& ports) {
  auto names = std::make_shared<Names>();
  for (const config::Network& network : numbered.networks) names->networks.push_back(json_text(network.name));
  for (const PortPlan& port : ports) names->ports.push_back(json_text(port.name));
  const std::lock_guard lock(mutex_);
  names_ = std::move(names);
}

Result<void> TranslationLog::follow(const config::TranslationLog& settings,
                                    const conntrack::ExternalAddresses& external) {
  if (settings_ == settings) return {};
  stop();
  settings_ = settings;
  if (settings_.to.empty()) return {};
  const bool is_of_blocks = settings_.of == config::LoggedUnit::Blocks;
  auto listener = listeners_.add(is_of_blocks ? Listeners::About::Blocks : Listeners::About::Sessions,
                                 is_of_blocks ? kFewEvents : kEvents);
  if (!listener) return tl::unexpected(Error{"log.translations", listener.error().what});
  listener_ = *std::move(listener);
  lost_told_ = 0;
  blocks_ = is_of_blocks ? blocks_of(workers_, external) : std::vector<SessionEvent>{};
  thread_ = std::thread([this] { run(); });
  return {};
}

void TranslationLog::stop() {
  if (!thread_.joinable()) return;
  wants_stop_.store(true, std::memory_order_relaxed);
  thread_.join();
  wants_stop_.store(false, std::memory_order_relaxed);
  lost_before_ += listener_->missed();
  listener_.reset();
  settings_ = {};
  const std::lock_guard lock(mutex_);
  problems_.clear();
}

std::vector<std::string> TranslationLog::notes() const {
  const std::lock_guard lock(mutex_);
  return problems_;
}

TranslationLog::Counts TranslationLog::counts() const {
  return {.written = written_.get(),
          .lost = lost_before_ + (listener_ ? listener_->missed() : 0),
          .unwritten = unwritten_.get()};
}

std::shared_ptr<const TranslationLog::Names> TranslationLog::names() const {
  const std::lock_guard lock(mutex_);
  return names_;
}

void TranslationLog::run() {
  pthread_setname_np(pthread_self(), "vmnat-log");
  for (const config::LogTarget& target : settings_.to) sinks_.push_back(make_sink(target));
  write_mark(TranslationEvent::Started);
  write_present();
  auto next_look = std::chrono::steady_clock::now();
  for (bool is_last = false; !is_last;) {
    is_last = wants_stop_.load(std::memory_order_relaxed);  // before the last look
    const bool found_any = drain();
    const auto now = std::chrono::steady_clock::now();
    if (now >= next_look || wants_reopen_.exchange(false, std::memory_order_relaxed)) {
      next_look = now + std::chrono::seconds(1);
      for (const auto& sink : sinks_) sink->look_again();
    }
    if (!found_any && !is_last) std::this_thread::sleep_for(kPause);
  }
  write_mark(TranslationEvent::Stopped);
  flush();
  sinks_.clear();
}

// Until nothing is there any more. False: nothing was.
bool TranslationLog::drain() {
  bool found_any = false;
  SessionEvent event;
  const auto names = this->names();
  for (unsigned taken = kAtOnce; taken == kAtOnce;) {
    for (taken = 0; taken < kAtOnce && listener_->take(event); ++taken)
      if (event.kind != EventKind::Changed) write(event, *names, event_for(event.kind));
    found_any = found_any || taken > 0;
    tell_losses();
    flush();
  }
  return found_any;
}

void TranslationLog::write(const SessionEvent& event, const Names& names, TranslationEvent as) {
  const auto name = [](const std::vector<std::string>& all, std::size_t number) -> std::string_view {
    return number < all.size() ? std::string_view(all[number]) : R"("")";
  };
  write({.time = workers_.wall_time(event.when),
         .event = as,
         .block_ports = event.block_ports,
         .mac = event.mac,
         .network = name(names.networks, event.session.policy),
         .port = name(names.ports, event.session.vm_port),
         .session = event.session});
}

void TranslationLog::write(Translation translation) {
  for (const auto& sink : sinks_) sink->write(translation);
  written_.add(1);
}

void TranslationLog::write_mark(TranslationEvent event, std::uint64_t lost) {
  write({.time = workers_.wall_time(workers_.now()), .event = event, .lost = lost});
}

// What is older than the log. What changes meanwhile waits in the rings, and is written after it.
void TranslationLog::write_present() {
  const auto names = this->names();
  for (const SessionEvent& block : blocks_) write(block, *names, TranslationEvent::Present);
  write_present_sessions(*names);
  flush();
}

void TranslationLog::write_present_sessions(const Names& names) {
  const auto key = [](net::Ipv4Addr address, unsigned port) {
    return std::uint64_t{address.host()} << 16 | port / conntrack::kBlockPorts;
  };
  std::unordered_set<std::uint64_t> of_vms;
  for (const SessionEvent& block : blocks_)
    for (unsigned port = 0; port < block.block_ports; port += conntrack::kBlockPorts)
      of_vms.insert(key(block.session.external.address, block.session.external.port.host() + port));
  const auto is_in_block = [&](const conntrack::SessionView& session) {
    return of_vms.contains(key(session.external.address, session.external.port.host()));
  };
  std::vector<conntrack::SessionView> chunk(kChunk);
  for (const dataplane::Worker& worker : workers_) {
    std::uint32_t cursor = 0;
    for (std::size_t filled = kChunk; filled == kChunk;) {
      filled = worker.conntrack().snapshot(cursor, chunk);
      for (std::size_t i = 0; i < filled; ++i)
        if (!is_in_block(chunk[i]))
          write({.when = workers_.now(), .session = chunk[i]}, names, TranslationEvent::Present);
      flush();
    }
  }
}

// What sinks could not take is told once, until they can again.
void TranslationLog::flush() {
  std::vector<std::string> problems;
  for (const auto& sink : sinks_) {
    if (const std::uint64_t unwritten = sink->flush(); unwritten != 0) unwritten_.add(unwritten);
    if (!sink->problem().empty()) problems.push_back("log.translations: " + sink->problem());
  }
  const std::lock_guard lock(mutex_);
  if (problems == problems_) return;
  for (const std::string& problem : problems)
    if (std::ranges::find(problems_, problem) == problems_.end()) spdlog::warn("{}", problem);
  if (problems.empty()) spdlog::info("log.translations: written again");
  problems_ = std::move(problems);
}

void TranslationLog::tell_losses() {
  const std::uint64_t lost = listener_->missed();
  if (lost == lost_told_) return;
  write_mark(TranslationEvent::Lost, lost - lost_told_);
  lost_told_ = lost;
}

}  // namespace vmnat::control
