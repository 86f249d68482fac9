// SPDX-License-Identifier: Apache-2.0
// LogBudget: what guests and strangers can bring about again and again has so many lines in the log and no
// more.
//
// Each cause and subject (a port, a network, the uplink) has a budget of its own: ten lines at once, then one
// every ten seconds. What is left out is counted and told. Example, a VM that resets its driver 100 times a
// second for ten seconds:
//
//   port vm1 is down
//   port vm1 is up                                 ten such lines, and then, once every ten seconds:
//   vm1: 1990 more lines suppressed (link)
//
// Not for what an operator does, nor for what can happen once only. Of one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <spdlog/spdlog.h>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vmnat::control {

class LogBudget {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr unsigned kAtOnce = 10;
  static constexpr std::chrono::seconds kPause{10};
  static constexpr std::size_t kMostSubjects = 1024;  // more share one budget

  // Why a line is written, in a word or two, and about whom.
  struct Subject {
    std::string_view cause;
    std::string_view who;
  };

  // Writes the line, or counts it as suppressed.
  template <typename... Args>
  void log(spdlog::level::level_enum level, const Subject& subject, Time now,
           spdlog::format_string_t<Args...> text, Args&&... arguments) {
    if (admits(subject, now)) spdlog::log(level, text, std::forward<Args>(arguments)...);
  }
  // True when one more line about the subject may be written now.
  bool admits(const Subject& subject, Time now);

  // Writes how many lines were left out, at most one such line a pause and subject. Called now and then.
  void tell_suppressed(Time now) {
    for (const std::string& line : take_suppressed(now)) spdlog::info("{}", line);
  }
  std::vector<std::string> take_suppressed(Time now);

 private:
  struct Budget {
    unsigned lines = kAtOnce;  // that may be written at once
    Time filled{};             // lines were added up to here
    Time told{};               // or begun to be suppressed
    std::uint64_t suppressed = 0;
  };
  Budget& budget_of(const Subject& subject, Time now);

  std::map<std::pair<std::string, std::string>, Budget> budgets_;  // by cause and who
  std::uint64_t waiting_ = 0;                                      // suppressed lines not told of yet
};

}  // namespace vmnat::control
