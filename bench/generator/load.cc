// SPDX-License-Identifier: Apache-2.0
// The loop that generates and receives. One core does both; its own share of busy time is measured with the
// rest.
#include "bench/generator/load.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <sys/resource.h>

#include "bench/generator/early_end.h"

namespace vmnat::bench {
namespace {

constexpr double kWarmUp = 0.1;  // seconds before the measured window
constexpr double kDrainTime = 0.02;
constexpr std::uint64_t kSampledFrames = 1024;  // of so many that arrive at a port, one is verified

double tick_rate() {
  return static_cast<double>(rte_get_tsc_hz());
}

std::uint64_t ticks_of(double seconds) {
  return static_cast<std::uint64_t>(seconds * tick_rate());
}

// How often the scheduler has taken this thread's CPU away: not zero on a machine that does other work as
// well.
std::uint64_t preemptions_of_this_thread() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return static_cast<std::uint64_t>(usage.ru_nivcsw);
}

// The flows in the order of sending: the patches are laid out so, and the loop itself reads memory in
// sequence.
std::vector<FlowNumber> order_of(const LoadPlan& plan, std::uint64_t seed) {
  std::vector<FlowNumber> order(plan.flows);
  std::iota(order.begin(), order.end(), FlowNumber{0});
  std::mt19937_64 random(seed);
  if (plan.order == FlowOrder::Random) std::shuffle(order.begin(), order.end(), random);
  return order;
}

}  // namespace

Load::Load(Tester& tester, const LoadPlan& plan, Stamping stamping)
    : tester_(tester), plan_(plan), device_clock_(tester.options().device_clock) {
  if (plan.traffic != Traffic::Inbound) add_lane(Direction::Outbound, stamping);
  if (plan.traffic != Traffic::Outbound) add_lane(Direction::Inbound, stamping);
}

void Load::add_lane(Direction direction, Stamping stamping) {
  auto order = order_of(plan_, tester_.options().flow_space.seed);
  std::erase_if(order, [&](FlowNumber flow) {
    return tester_.options().mode == Mode::Nat && !tester_.flows().is_learned(flow);
  });
  tester_.prepare_load_pools(direction, plan_.frames.largest());
  std::vector<Arrivals> arrivals;
  for (const auto& station : tester_.receivers(direction)) arrivals.push_back({.station = station.get()});
  lanes_.push_back({.direction = direction,
                    .expected = tester_.expected_addresses(direction),
                    .streams = Streams(tester_, {.direction = direction,
                                                 .frames = plan_.frames,
                                                 .flows = std::move(order),
                                                 .repetition = Repetition::Endless,
                                                 .stamping = stamping}),
                    .arrivals = std::move(arrivals),
                    .pacer = {},
                    .gaps = {}});
}

unsigned Load::receive(Lane& lane) {
  unsigned total = 0;
  for (Arrivals& arrivals : lane.arrivals) total += receive_at(arrivals, lane);
  return total;
}

unsigned Load::receive_at(Arrivals& arrivals, Lane& lane) {
  rte_mbuf* frames[kBurst];
  Station& station = *arrivals.station;
  const std::uint16_t count = rte_eth_rx_burst(station.port.id(), 0, frames, kBurst);
  if (count == 0) return 0;
  const auto now = static_cast<std::uint32_t>(rte_rdtsc());
  for (std::uint16_t i = 0; i < count; ++i) __builtin_prefetch(rte_pktmbuf_mtod(frames[i], std::byte*));
  ++lane.bursts;
  if (arrivals.until_check <= count) {
    tester_.check(lane.direction, station, bytes_of(frames[0]));
    arrivals.until_check = kSampledFrames;
  } else {
    arrivals.until_check -= count;
  }
  for (std::uint16_t i = 0; i < count; ++i) {
    const auto* frame = rte_pktmbuf_mtod(frames[i], const std::byte*);
    if (plan_.frames.has_length(frames[i]->pkt_len) && lane.expected.holds(frame)) {
      ++lane.received;
      if (latencies_ != nullptr) latencies_->frames.add(now - TimeStamp::read(frame));
    } else {
      tester_.check(lane.direction, station, bytes_of(frames[i]));
    }
  }
  rte_pktmbuf_free_bulk(frames, count);
  return count;
}

std::uint64_t Load::offer(Lane& lane, std::uint64_t now) {
  if (!lane.pacer) return lane.streams.send();
  const std::uint64_t due = lane.pacer->due(now);
  if (due == 0) return 0;
  const std::uint64_t taken = lane.streams.send(due);
  lane.pacer->took(taken);
  return taken;
}

Load::Mark Load::drive_until(std::uint64_t end) {
  std::uint64_t now = rte_rdtsc();
  while (now < end && !EarlyEnd::is_wanted()) {
    std::uint64_t done = 0;
    for (Lane& lane : lanes_) {
      const unsigned received = receive(lane);
      if (lane.gaps) lane.gaps->look(now, received > 0);
      done += received;
    }
    for (Lane& lane : lanes_) done += offer(lane, now);
    if (other_) done += other_();
    const std::uint64_t before = now;
    now = rte_rdtsc();
    if (done > 0) busy_ticks_ += now - before;
    if (latencies_ != nullptr) latencies_->turns.add(static_cast<std::uint32_t>(now - before));
  }
  return mark_at(now);
}

Load::Mark Load::mark_at(std::uint64_t now) const {
  Mark mark{.ticks = now, .busy_ticks = busy_ticks_};
  for (const Lane& lane : lanes_) {
    mark.received[static_cast<std::size_t>(lane.direction)] = lane.received;
    mark.bursts += lane.bursts;
  }
  return mark;
}

void Load::drain() {
  const std::uint64_t patience = Pacer::Limits::usual(tick_rate()).patience;
  const std::uint64_t start = rte_rdtsc();
  std::uint64_t now = start;
  for (; now - start < ticks_of(kDrainTime); now = rte_rdtsc()) {
    for (Lane& lane : lanes_) {
      receive(lane);
      // What was offered and waits before a full ring has the same time as before.
      if (lane.pacer && now - start < patience && lane.pacer->waiting() > 0)
        lane.pacer->took(lane.streams.send(lane.pacer->waiting()));
    }
  }
}

void Load::start_lanes(double rate_mpps) {
  const auto limits = Pacer::Limits::usual(tick_rate());
  for (Lane& lane : lanes_) {
    lane.sent_before = lane.streams.sent();
    lane.received_before = lane.received;
    lane.pacer.reset();
    lane.gaps.reset();
    if (rate_mpps > 0) lane.pacer.emplace(rate_mpps * 1e6 / tick_rate(), limits, rte_rdtsc());
  }
}

void Load::start_window(std::uint64_t now) {
  for (Lane& lane : lanes_) lane.gaps.emplace(Gaps::Limits::usual(tick_rate()), now);
}

// With nothing under way, so that nothing is lost while the generator waits for the answer. Not beside a rate, whose frames
// fall due meanwhile.
std::optional<DeviceWork> Load::read_device_clock(double rate_mpps) {
  if (!device_clock_.is_there() || rate_mpps > 0) return std::nullopt;
  drain();
  return device_clock_.read();
}

LoadSample Load::run(double rate_mpps, Latencies* latencies) {
  const std::uint64_t preemptions = preemptions_of_this_thread();
  EarlyEnd::forget();
  start_lanes(rate_mpps);
  const std::uint64_t start = rte_rdtsc();
  drive_until(start + ticks_of(kWarmUp));
  const auto device_before = read_device_clock(rate_mpps);
  const Mark from = mark_at(rte_rdtsc());
  latencies_ = latencies;
  start_window(from.ticks);
  const Mark to = drive_until(from.ticks + ticks_of(plan_.seconds));
  latencies_ = nullptr;
  drain();

  LoadSample sample = sample_between(from, to);
  add_loss(sample, to.ticks - start);
  add_gaps(sample);
  if (device_before)
    if (const auto device = device_clock_.read())
      add_device_work(sample, {device->frames - device_before->frames, device->ticks - device_before->ticks},
                      to.ticks - from.ticks);
  sample.preemptions = preemptions_of_this_thread() - preemptions;
  return sample;
}

void Load::add_loss(LoadSample& sample, std::uint64_t ticks) const {
  std::uint64_t offered = 0, received = 0;
  for (const Lane& lane : lanes_) {
    offered += lane.offered_in_run();
    received += lane.received_in_run();
  }
  if (offered > received) {
    sample.lost = offered - received;
    sample.loss = static_cast<double>(sample.lost) / static_cast<double>(offered);
  }
  if (lanes_.front().pacer)
    sample.offered_mpps = static_cast<double>(offered) / static_cast<double>(ticks) * tick_rate() / 1e6;
}

void Load::add_device_work(LoadSample& sample, const DeviceWork& work, std::uint64_t ticks) {
  if (work.frames == 0) return;
  sample.device_ticks = static_cast<double>(work.ticks) / static_cast<double>(work.frames);
  sample.device_busy = static_cast<double>(work.ticks) / static_cast<double>(ticks);
}

void Load::add_gaps(LoadSample& sample) const {
  const auto microseconds = [](std::uint64_t ticks) {
    return static_cast<double>(ticks) / tick_rate() * 1e6;
  };
  for (const Lane& lane : lanes_) {
    sample.longest_gap_us = std::max(sample.longest_gap_us, microseconds(lane.gaps->longest()));
    sample.gaps_over_1ms += lane.gaps->long_gaps();
    sample.longest_absence_us =
        std::max(sample.longest_absence_us, microseconds(lane.gaps->longest_absence()));
  }
}

LoadSample Load::sample_between(const Mark& from, const Mark& to) {
  const double elapsed = static_cast<double>(to.ticks - from.ticks);
  const auto received = [&](std::size_t i) { return static_cast<double>(to.received[i] - from.received[i]); };
  const auto bursts = static_cast<double>(to.bursts - from.bursts);
  return {.outbound_mpps = received(0) / elapsed * tick_rate() / 1e6,
          .inbound_mpps = received(1) / elapsed * tick_rate() / 1e6,
          .generator_busy = static_cast<double>(to.busy_ticks - from.busy_ticks) / elapsed,
          .frames_per_burst = bursts == 0 ? 0 : (received(0) + received(1)) / bursts};
}

}  // namespace vmnat::bench
