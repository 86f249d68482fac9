// SPDX-License-Identifier: Apache-2.0
// Trace: the ways of a few frames, each told when it has ended: where it came from, what each step made of it, where it
// went. Shapes: control/admin/README.md.
//
// A frame has ended when its last record says so and no other has come for a while, for copies of it may be on their
// way, and workers tell at different times. One whose end is not seen within 3 s, such as an answer that control keeps,
// is told as far as it came.
#pragma once

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>

#include "control/observe/observers.h"
#include "control/observe/record_reader.h"
#include "control/plan/ports.h"

namespace vmnat::control {

class Trace {
 public:
  static constexpr std::uint32_t kKept = 128;     // bytes of a frame: its headers
  static constexpr std::size_t kMostSteps = 256;  // that are told of one frame

  // `ports`, by PortIndex, outlives it. `count`: frames, after which it ends.
  Trace(std::unique_ptr<Observer> observer, const std::vector<PortPlan>& ports, std::uint64_t count,
        std::uint64_t tsc_hz)
      : observer_(std::move(observer)),
        records_(observer_->observation()),
        ports_(ports),
        count_(count),
        hz_(tsc_hz) {}

  // True: a frame's way is told in `item`.
  bool next(nlohmann::json& item, std::uint64_t tsc);
  // Those whose end has not come are told as far as they came.
  void finish() { is_finishing_ = true; }
  [[nodiscard]] bool has_ended() const { return told_ == count_ || (is_finishing_ && frames_.empty()); }
  [[nodiscard]] std::uint64_t told() const { return told_; }
  [[nodiscard]] std::uint64_t missed() const { return observer_->missed(); }

 private:
  // NOLINTNEXTLINE(bugprone-exception-escape): moving JSON throws nothing
  struct Way {
    std::uint64_t begin = 0, last = 0;  // by the time stamp counter
    WorkerIndex worker = 0;             // that has told of it last
    bool has_ended = false;
    std::string last_text;  // of the frame
    nlohmann::json told;
  };
  void take(const dataplane::Record& record);
  void tell(Way& way, const dataplane::Record& record);
  [[nodiscard]] nlohmann::json step_of(Way& way, const dataplane::Record& record);
  static void end(Way& way, const char* word, nlohmann::json reason);
  [[nodiscard]] std::string port_name(PortIndex port) const;
  [[nodiscard]] bool is_told(const Way& way, std::uint64_t tsc) const;

  std::unique_ptr<Observer> observer_;
  RecordReader records_;
  const std::vector<PortPlan>& ports_;
  const std::uint64_t count_, hz_;
  std::map<std::uint32_t, Way> frames_;  // by number
  std::uint64_t told_ = 0;
  bool is_finishing_ = false;
};

// "192.168.122.10:4000 > 198.51.100.2:53 udp, ttl 64", of the first bytes of a frame.
std::string frame_text(std::span<const std::byte> bytes);

}  // namespace vmnat::control
