// SPDX-License-Identifier: Apache-2.0
// TranslationLog: which VM had which external port, when (log.translations): RFC 6888 section 4, RFC 7422.
//
// Workers copy what becomes of their sessions, or blocks of ports, into rings (session_events.h). A thread of the log's
// own takes it from there, gives it names, and writes it to the sinks; a disk, a resolver or a collector that is slow
// delays nobody else. What a ring has no room for meanwhile is counted as lost, and the log says how much.
//
// A start is in the log: `started`, and what there is then as `present`. So it is complete for sessions that are older
// than it is, and a reader knows what has ended while nobody logged.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/counter.h"
#include "control/config/model.h"
#include "control/gateway/gateway.h"
#include "control/observe/listeners.h"
#include "control/translations/sink.h"

namespace vmnat::control {

class TranslationLog {
 public:
  // All outlive it.
  TranslationLog(Listeners& listeners, const Workers& workers) : listeners_(listeners), workers_(workers) {}
  ~TranslationLog() { stop(); }
  TranslationLog(const TranslationLog&) = delete;
  TranslationLog& operator=(const TranslationLog&) = delete;

  // What networks and ports are called, by their numbers: before workers know of new ones.
  void set_names(const config::Config& numbered, const std::vector<PortPlan>& ports);
  // Begins, ends or begins anew, as these say; `external` are in effect. An Error: no memory.
  Result<void> follow(const config::TranslationLog& settings, const conntrack::ExternalAddresses& external);
  // Files that were renamed are made anew now.
  void reopen() { wants_reopen_.store(true, std::memory_order_relaxed); }
  // When workers have stopped: what they have told is written.
  void stop();

  // Sentences: what is wrong with sinks at present.
  [[nodiscard]] std::vector<std::string> notes() const;
  struct Counts {
    std::uint64_t written = 0, lost = 0, unwritten = 0;
  };
  [[nodiscard]] Counts counts() const;

 private:
  // Of networks and ports by their numbers, as JSON strings.
  struct Names {
    std::vector<std::string> networks, ports;
  };

  void run();
  bool drain();
  void write(const conntrack::SessionEvent& event, const Names& names, TranslationEvent as);
  void write(Translation translation);
  void write_mark(TranslationEvent event, std::uint64_t lost = 0);
  void write_present();
  void write_present_sessions(const Names& names);
  void flush();
  void tell_losses();
  [[nodiscard]] std::shared_ptr<const Names> names() const;

  Listeners& listeners_;
  const Workers& workers_;
  config::TranslationLog settings_;
  std::unique_ptr<Listener> listener_;
  std::vector<conntrack::SessionEvent> blocks_;  // that VMs had when it began
  std::vector<std::unique_ptr<Sink>> sinks_;     // the thread's
  std::uint64_t lost_told_ = 0;                  // the same
  std::thread thread_;
  std::atomic<bool> wants_stop_{false}, wants_reopen_{false};

  mutable std::mutex mutex_;  // of the two below
  std::shared_ptr<const Names> names_;
  std::vector<std::string> problems_;
  Counter written_, unwritten_;
  std::uint64_t lost_before_ = 0;  // to earlier listeners
};

}  // namespace vmnat::control
