// SPDX-License-Identifier: Apache-2.0
// Tester (RFC 2544): both sides of the device under test, what is known about its flows, and the check of
// single frames.
//
//   generator's VM side  --outbound-->  device under test  --outbound-->  generator's uplink side
//                        <--inbound---                     <--inbound---  (router and remotes)
//
// A frame is checked against the plan by the flow number in its payload: its tuple on the far side follows
// from it. Under load most frames are only counted; see load.h.
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "bench/generator/flows.h"
#include "bench/generator/frame.h"
#include "bench/generator/neighbors.h"
#include "bench/generator/options.h"
#include "bench/generator/ports.h"
#include "bench/generator/progress.h"
#include "bench/generator/tcp_talk.h"

namespace vmnat::bench {

enum class Direction : std::uint8_t { Outbound, Inbound };
const char* text_of(Direction direction);

using FaultCounters = std::array<std::uint64_t, kFaultKinds>;

// What a frame's translated address must be in: an outbound frame's source, an inbound frame's destination.
struct AddressRange {
  std::size_t offset;  // of the address in the frame
  std::uint32_t first, last;
  // `frame` has room for an IPv4 header. False as well when it is no IPv4 frame.
  [[nodiscard]] bool holds(const std::byte* frame) const;
};

class Tester {
 public:
  Tester(const Options& options, Progress& progress);

  // Waits for both links and finds the device's MAC on either side by ARP (mode nat). Throws when it does not
  // answer.
  void find_device();

  // Takes and checks everything that waits on both ports; the number of frames.
  unsigned receive_and_check();
  // Checks one frame that arrived at the end of `direction`; answers it when it is an ARP request.
  void check(Direction direction, std::span<const std::byte> frame);
  // The same for a frame of a TCP connection, see tcp_talk.h.
  void check_segment(Direction direction, std::span<const std::byte> frame);
  // Is shown every frame that is none of this run's, and ARP, when it has been answered.
  void watch_others(std::function<void(Direction, std::span<const std::byte>)> watcher) {
    watcher_ = std::move(watcher);
  }
  // Receives until nothing has come for a moment.
  void drain();

  // The frame that opens or continues a flow, as its sender in this direction makes it. Inbound needs a
  // learned flow.
  [[nodiscard]] Tuple tuple_of(Direction direction, FlowNumber flow) const;
  [[nodiscard]] AddressRange expected_addresses(Direction direction) const;
  // Where a sender's frames go to: the device, or (mode forward) the far port.
  [[nodiscard]] net::MacAddr next_hop(Direction direction) const;
  [[nodiscard]] FrameTemplate frame_template(Direction direction, std::size_t wire_size) const;

  Port& sender(Direction direction) { return direction == Direction::Outbound ? vm_ : uplink_; }
  Port& receiver(Direction direction) { return direction == Direction::Outbound ? uplink_ : vm_; }
  FlowTable& flows() { return flows_; }
  [[nodiscard]] const FlowPlan& plan() const { return plan_; }
  [[nodiscard]] const FaultCounters& faults() const { return faults_; }
  [[nodiscard]] const Options& options() const { return options_; }
  Progress& progress() { return progress_; }

 private:
  [[nodiscard]] Fault fault_of_outbound(const ReceivedFrame& frame);
  [[nodiscard]] Fault fault_of_inbound(const ReceivedFrame& frame);
  [[nodiscard]] Fault fault_of_segment(Direction direction, const TcpSegment& segment) const;
  [[nodiscard]] bool is_external(net::Ipv4Addr address) const;
  NeighborSide& neighbors_at(Direction direction) {
    return direction == Direction::Outbound ? router_side_ : host_side_;
  }

  const Options& options_;
  Progress& progress_;
  FlowPlan plan_;
  FlowTable flows_;
  FaultCounters faults_{};
  Port vm_;
  Port uplink_;
  NeighborSide host_side_;
  NeighborSide router_side_;
  std::function<void(Direction, std::span<const std::byte>)> watcher_;
};

// Calls `step` until it answers true or the time is over; whether it did.
bool poll_until(double deadline_s, const std::function<bool()>& step);

}  // namespace vmnat::bench
