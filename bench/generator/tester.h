// SPDX-License-Identifier: Apache-2.0
// Tester (RFC 2544): both sides of the device under test, what is known about its flows, and the check of
// single frames.
//
//   generator's VM side  --outbound-->  device under test  --outbound-->  generator's uplink side
//                        <--inbound---                     <--inbound---  (router and remotes)
//
// Each side is a list of stations; the uplink side has one. In mode reflect what a side sends comes back to it.
//
// A frame is checked against the plan by the flow number in its payload: its tuple on the far side follows
// from it. Under load most frames are only counted; see load.h.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

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

// A port of the generator, and whom it plays there: the hosts of a VM, or the router.
struct Station {
  Station(const std::string& device_name, unsigned queue_size, NeighborSide::Addresses plays,
          net::Ipv4Addr peer)
      : port(device_name, queue_size), neighbors(port.mac(), std::move(plays), peer) {}
  Port port;
  NeighborSide neighbors;
};
using Stations = std::vector<std::unique_ptr<Station>>;

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

  // Waits for all links and finds the device's MAC at every station by ARP (mode nat). Throws when it does not
  // answer.
  void find_device();

  // Takes and checks what waits at all stations, a burst of each; the number of frames.
  unsigned receive_and_check();
  // Checks one frame of `direction` that arrived at `station`; answers it when it is an ARP request.
  void check(Direction direction, Station& station, std::span<const std::byte> frame);
  // The same for a frame of a TCP connection, see tcp_talk.h.
  void check_segment(Direction direction, const Station& station, std::span<const std::byte> frame);
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
  // Where a station's frames go to: the device, or (without translation) the far side.
  [[nodiscard]] net::MacAddr next_hop(const Station& station) const;
  [[nodiscard]] FrameTemplate frame_template(const Station& station, std::size_t wire_size) const;
  // Fills the load pools of all that send in this direction. Only while none of their frames is under way.
  void prepare_load_pools(Direction direction, std::size_t wire_size);

  [[nodiscard]] const Stations& senders(Direction direction) const {
    return direction == Direction::Outbound ? vms_ : uplink_;
  }
  [[nodiscard]] const Stations& receivers(Direction direction) const {
    const bool is_for_uplink = (direction == Direction::Outbound) != (options_.mode == Mode::Reflect);
    return is_for_uplink ? uplink_ : vms_;
  }
  // Where a flow's frames of this direction are sent, and where they should arrive.
  [[nodiscard]] Station& source(Direction direction, FlowNumber flow) const {
    return station_of(senders(direction), flow);
  }
  [[nodiscard]] Station& destination(Direction direction, FlowNumber flow) const {
    return station_of(receivers(direction), flow);
  }
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
  [[nodiscard]] Station& station_of(const Stations& side, FlowNumber flow) const {
    return *side[side.size() == 1 ? 0 : plan_.vm_port(flow)];
  }
  void ask_for_device();
  // The first that has not heard from the device; nullptr: all have.
  [[nodiscard]] const Station* unanswered() const;

  const Options& options_;
  Progress& progress_;
  FlowPlan plan_;
  FlowTable flows_;
  FaultCounters faults_{};
  Stations vms_;
  Stations uplink_;
  std::function<void(Direction, std::span<const std::byte>)> watcher_;
};

// Calls `step` until it answers true or the time is over; whether it did.
bool poll_until(double deadline_s, const std::function<bool()>& step);

}  // namespace vmnat::bench
