// SPDX-License-Identifier: Apache-2.0
// Steady load: the flows of the plan, over and over, in one or both directions; what arrives is counted.
//
// Without a rate, the generator offers as much as the device takes: a vhost ring that is full pushes back,
// that is not loss; loss is what the device took and did not deliver. With a rate, frames are offered by the
// clock (pacer.h), and loss is what was offered and not delivered: a frame that no ring has taken for a
// millisecond is lost as well. Every frame's length is looked at and one of every 1024 is verified in full;
// ARP requests are answered.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <vector>

#include "bench/generator/device_clock.h"
#include "bench/generator/gaps.h"
#include "bench/generator/histogram.h"
#include "bench/generator/pacer.h"
#include "bench/generator/streams.h"
#include "bench/generator/tester.h"

namespace vmnat::bench {

struct LoadPlan {
  Traffic traffic = Traffic::Outbound;
  FlowNumber flows = 1;
  FrameMix frames = FrameMix::of_size(kSmallestFrame);
  FlowOrder order = FlowOrder::Random;
  double seconds = 1;
};

// One run. Rates are those of the measured window; loss is over the whole run.
struct LoadSample {
  double outbound_mpps = 0;  // received
  double inbound_mpps = 0;
  double offered_mpps = 0;        // over the whole run; only with a rate
  double loss = 0;                // share of the frames offered, without a rate of those sent
  std::uint64_t lost = 0;         // the same in frames
  double generator_busy = 0;      // share of the loop's time in which it had something to send or to receive
  double frames_per_burst = 0;    // received, of those bursts that were not empty
  std::uint64_t preemptions = 0;  // of the generator's thread, during the run
  // Of the device's worker, if its clock is read: TSC ticks for each frame that it has received, and the share of the window
  // that they took.
  double device_ticks = 0;
  double device_busy = 0;
  double line_trip_ticks =
      0;  // to the device's CPU and back, if that is known (line_trip.h); 0: not measured
  // Without frames in either direction, in the measured window; gaps.h. In microseconds.
  double longest_gap_us = 0;
  std::uint64_t gaps_over_1ms = 0;
  double longest_absence_us = 0;  // of the generator
  [[nodiscard]] double mpps() const { return outbound_mpps + inbound_mpps; }
};

// In ticks. A frame's latency is measured to within one turn of the generator's loop at either end.
struct Latencies {
  Histogram frames;
  Histogram turns;
};

// A prepared load: buffers hold the template, patches are computed. `run` may be called repeatedly.
class Load {
 public:
  Load(Tester& tester, const LoadPlan& plan, Stamping stamping = Stamping::None);
  // `rate_mpps` per direction; 0: unlimited. Ends early when that is wanted (early_end.h). `latencies` needs a load that stamps, and is added to.
  LoadSample run(double rate_mpps, Latencies* latencies = nullptr);
  // Has another party take its turn in each turn of the loop, in later runs; nothing: nobody.
  void accompany(std::function<unsigned()> other) { other_ = std::move(other); }
  [[nodiscard]] std::size_t directions() const { return lanes_.size(); }

 private:
  // A station that receives.
  struct Arrivals {
    Station* station;
    std::uint64_t until_check = 0;  // frames
  };
  // One direction: what is sent into the device, and what has arrived behind it.
  struct Lane {
    Direction direction;
    AddressRange expected;
    Streams streams;
    std::vector<Arrivals> arrivals;
    std::optional<Pacer> pacer;     // this run's
    std::optional<Gaps> gaps;       // the same, once the window has begun
    std::uint64_t sent_before = 0;  // this run
    std::uint64_t received_before = 0;
    std::uint64_t received = 0;
    std::uint64_t bursts = 0;  // that were not empty

    [[nodiscard]] std::uint64_t offered_in_run() const {
      return pacer ? pacer->offered() : streams.sent() - sent_before;
    }
    [[nodiscard]] std::uint64_t received_in_run() const { return received - received_before; }
  };
  // Time, and counts at the start and the end of the measured window.
  struct Mark {
    std::uint64_t ticks = 0;
    std::uint64_t busy_ticks = 0;
    std::array<std::uint64_t, 2> received{};
    std::uint64_t bursts = 0;
  };

  void add_lane(Direction direction, Stamping stamping);
  void start_lanes(double rate_mpps);
  void start_window(std::uint64_t now);
  unsigned receive(Lane& lane);
  unsigned receive_at(Arrivals& arrivals, Lane& lane);
  // Sends what is due at `now`; the number of frames that the rings took.
  static std::uint64_t offer(Lane& lane, std::uint64_t now);
  // Sends and receives until `end`; returns where things stand.
  Mark drive_until(std::uint64_t end);
  [[nodiscard]] Mark mark_at(std::uint64_t now) const;
  std::optional<DeviceWork> read_device_clock(double rate_mpps);
  void drain();
  static LoadSample sample_between(const Mark& from, const Mark& to);
  void add_loss(LoadSample& sample, std::uint64_t ticks) const;
  void add_gaps(LoadSample& sample) const;
  static void add_device_work(LoadSample& sample, const DeviceWork& work, std::uint64_t ticks);

  Tester& tester_;
  LoadPlan plan_;
  DeviceClock device_clock_;
  std::vector<Lane> lanes_;
  Latencies* latencies_ = nullptr;
  std::function<unsigned()> other_;
  std::uint64_t busy_ticks_ = 0;
};

}  // namespace vmnat::bench
