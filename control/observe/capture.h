// SPDX-License-Identifier: Apache-2.0
// Capture: what an observer sees, as a pcapng file that is made piece by piece.
//
// Each packet says in its comment what became of the frame there: "received", "transmitted", or
// "dropped: no_port: no external port or identifier is left". A frame that is dropped was received before, and is
// there twice.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "control/observe/observers.h"
#include "control/observe/pcapng.h"
#include "control/observe/record_reader.h"
#include "control/observe/tsc_time.h"
#include "control/plan/ports.h"

namespace vmnat::control {

class Capture {
 public:
  struct Settings {
    std::string program;      // that writes the file
    std::string expression;   // of the filter, for the file; empty: none
    std::uint64_t count = 0;  // frames, after which it ends; 0: it goes on
    std::uint64_t tsc_hz = 0;
  };
  // `ports`, by PortIndex, outlives it.
  Capture(std::unique_ptr<Observer> observer, const std::vector<PortPlan>& ports, Settings settings);

  // Appends what has come since the last call, of so many bytes or a little more. True: it goes on. The first piece
  // tells of the ports that there are.
  bool read(pcapng::Bytes& to, std::size_t most_bytes);
  // What has come by now is the last that there is to read.
  void end();
  // Appends the end, behind the last piece.
  void finish(pcapng::Bytes& to);

  [[nodiscard]] std::uint64_t captured() const { return captured_; }
  [[nodiscard]] std::uint64_t missed() const { return observer_->missed(); }

 private:
  struct Seen {
    std::uint32_t interface;
    std::string name;  // of the port; its number may have another user later
    std::uint64_t captured = 0;
  };
  void begin(pcapng::Bytes& to);
  Seen& interface_of(PortIndex port, pcapng::Bytes& to);
  void add(const dataplane::Record& record, pcapng::Bytes& to);

  std::unique_ptr<Observer> observer_;
  RecordReader records_;
  const std::vector<PortPlan>& ports_;
  Settings settings_;
  TscTime clock_;
  pcapng::WallTime began_;
  std::map<PortIndex, Seen> interfaces_;
  std::uint32_t interface_count_ = 0;
  std::uint64_t captured_ = 0;
  bool has_begun_ = false;
  std::uint64_t ends_at_ = UINT64_MAX;  // by the time stamp counter
};

}  // namespace vmnat::control
