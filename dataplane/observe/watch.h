// SPDX-License-Identifier: Apache-2.0
// Watch: the eyes of one worker for those who observe it (`vmnatctl capture`). Control publishes the watches of all
// workers with a forwarding state; while nobody observes there are none, and a worker pays a test of a pointer for each
// burst that it receives or transmits, and for each frame that it drops.
//
// What a capture sees, in this order:
//   received      as the device gave it, before anything of it is checked or rewritten
//   dropped       as it was when it ended, with the reason
//   transmitted   as the device took it over: copies, answers, frames of control and fragments among them
//
// One who traces sees a few frames, chosen as they are received or injected, at every step of their way. They carry a
// mark, a flag and a number in fields of the mbuf that DPDK gives out; so do their copies. The steps know nothing of it:
// the pipeline tells after each step which frames are still in the burst (pipeline.cc).
//
// An observer's records are bytes in a ring of a fixed size (record_ring.h): no frame is held back, and nobody waits.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <rte_mbuf.h>
#include <string_view>
#include <vector>

#include "dataplane/device/transmission.h"
#include "dataplane/frame/packet.h"
#include "dataplane/observe/filter.h"
#include "dataplane/observe/record_ring.h"

namespace vmnat::dataplane {

inline constexpr std::size_t kMostObservers = 4;  // at a time

// What one observer wants to see, and the records of it. Control's; a worker writes to its own ring.
struct Observation {
  enum class Scope : std::uint8_t { All, Port, Drops };

  Scope scope = Scope::All;
  PortIndex port = kNoPort;  // of Scope::Port
  Filter filter;
  std::uint32_t snap = 0;  // bytes that are kept of a frame, at most
  // Of a trace: how many frames are still to be chosen, by all workers; nullptr: it is a capture.
  std::unique_ptr<std::atomic<std::uint32_t>> to_trace;
  std::uint32_t first_number =
      0;  // frames have those behind it: a frame of an earlier trace may be on its way
  std::vector<std::unique_ptr<RecordRing>> rings;  // by worker

  [[nodiscard]] bool is_about(PortIndex at) const {
    return scope == Scope::All || (scope == Scope::Port && port == at);
  }
  [[nodiscard]] bool is_about_drop(PortIndex from, PortIndex towards) const {
    return scope != Scope::Port || port == from || port == towards;
  }
};
using Observations = std::vector<std::shared_ptr<const Observation>>;  // kMostObservers at most

// Where frames that are traced carry their mark.
struct TraceMark {
  std::uint64_t flag = 0;  // of ol_flags
  int field = 0;           // 32 bits: the frame's number

  // Control, after the EAL has started. Nothing: DPDK has no field left.
  static std::optional<TraceMark> find();
  [[nodiscard]] std::uint32_t of(const rte_mbuf* frame) const;  // 0: it is not traced
  void set(rte_mbuf* frame, std::uint32_t number) const;
};

// Of a traced frame after a step, before its first bytes.
struct StepNote {
  PacketKind kind{};
  DropReason fault{};  // of an Unroutable one
  bool has_session = false;
  bool is_new = false;  // no packet of the session has been counted yet
  net::Protocol protocol{};
  net::Endpoint internal, external, remote;  // the session's
};

class Watch {
 public:
  Watch(WorkerIndex worker, const Observations& observations, const TraceMark& mark);

  [[gnu::cold]] void see_received(PortIndex port, rte_mbuf* const* frames, unsigned count);
  // Of frames that are about to leave. What has become of them is told before anything else is seen.
  [[gnu::cold]] void see_leaving(PortIndex port, rte_mbuf* const* frames, unsigned count);
  [[gnu::cold]] void see_left(Transmission result);
  [[gnu::cold]] void see_dropped(const rte_mbuf* frame, PortIndex from, DropReason reason, PortIndex towards);

  // Of traced frames alone.
  [[nodiscard]] bool traces() const { return tracer_ != nullptr; }
  [[gnu::cold]] void see_injected(rte_mbuf* const* frames, unsigned count);
  [[gnu::cold]] void see_errands(rte_mbuf* const* frames, unsigned count);  // about to be carried out
  [[gnu::cold]] void see_punted(const rte_mbuf* frame, PortIndex port, PuntReason reason);
  // `action`: by the caller's own numbers.
  [[gnu::cold]] void see_rule(const rte_mbuf* frame, PortIndex port, std::string_view rule,
                              std::uint8_t action);
  // `step`: by the caller's own numbers. `has_sessions`: those of the burst's frames are known.
  [[gnu::cold]] void see_step(std::uint8_t step, const Burst& burst, bool has_sessions);
  // Those of the burst's frames; and of frames that were in it before, those that have left it in the step.
  struct MarkedFrame {
    std::uint32_t number = 0;
    PortIndex port = 0;
  };
  using MarkedFrames = std::array<MarkedFrame, kBurstSize>;
  [[gnu::cold]] unsigned marked_in(const Burst& burst, MarkedFrames& marked) const;
  [[gnu::cold]] void see_left_in(std::uint8_t step, const MarkedFrames& before, unsigned count,
                                 const Burst& burst);

 private:
  struct Eye {
    std::shared_ptr<const Observation> observation;
    RecordRing* ring = nullptr;
    std::array<Record*, Transmission::kMostFrames> leaving{};  // nullptr: not seen
  };

  // Of a traced frame; nullptr: the ring is full. `note` has the frame's first bytes, too.
  Record* begin(std::uint32_t bytes, std::uint32_t number, Sight sight, PortIndex port, std::uint64_t tsc);
  Record* note(const rte_mbuf* frame, std::uint32_t number, Sight sight, PortIndex port, std::uint64_t tsc);
  void choose(rte_mbuf* const* frames, unsigned count, Sight sight, PortIndex port, std::uint64_t tsc);
  void trace_leaving(PortIndex port, rte_mbuf* const* frames, unsigned count, std::uint64_t tsc);
  void trace_dropped(const rte_mbuf* frame, PortIndex from, DropReason reason, PortIndex towards,
                     std::uint64_t tsc);
  static void settle(Eye& eye, Transmission result);

  std::vector<Eye> eyes_;  // of captures
  std::unique_ptr<Eye> tracer_;
  TraceMark mark_;
  WorkerIndex worker_;
};

// Of all workers, as published.
struct Watches {
  Watches(unsigned workers, const Observations& observations, const TraceMark& mark);
  std::vector<Watch> of_workers;
};

}  // namespace vmnat::dataplane
