// SPDX-License-Identifier: Apache-2.0
// The loop that generates and receives. One core does both; its own share of busy time is measured with the
// rest.
#include "bench/load.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <sys/resource.h>

namespace vmnat::bench {
namespace {

constexpr double kWarmUp = 0.1;  // seconds before the measured window
constexpr double kDrainTime = 0.02;
constexpr std::uint64_t kSampledBursts =
    32;  // the first frame of every 32nd burst is verified: 1 of 1024 frames

double tick_rate() {
  return static_cast<double>(rte_get_tsc_hz());
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

Load::AddressRange expected_addresses(const Options& options, Direction direction) {
  constexpr std::size_t kAddresses = sizeof(net::EthernetHeader);
  if (direction == Direction::Outbound && options.mode == Mode::Nat)
    return {kAddresses + offsetof(net::Ipv4Header, source), options.external_first.host(),
            options.external_last.host()};
  const net::Ipv4Prefix& network = options.flow_space.network;
  const std::size_t field = direction == Direction::Outbound ? offsetof(net::Ipv4Header, source)
                                                             : offsetof(net::Ipv4Header, destination);
  return {kAddresses + field, network.first().host(), network.broadcast().host()};
}

}  // namespace

bool Load::AddressRange::holds(const std::byte* frame) const {
  net::Be16 type;
  net::Be32 address;
  std::memcpy(&type, frame + offsetof(net::EthernetHeader, type), sizeof type);
  std::memcpy(&address, frame + offset, sizeof address);
  return type.host() == static_cast<std::uint16_t>(net::EtherType::Ipv4) &&
         address.host() - first <= last - first;
}

Load::Load(TestBed& bed, const LoadPlan& plan)
    : bed_(bed), plan_(plan), frame_length_(plan.wire_size - kFcsLength) {
  if (plan.traffic != Traffic::Inbound) add_lane(Direction::Outbound);
  if (plan.traffic != Traffic::Outbound) add_lane(Direction::Inbound);
}

void Load::add_lane(Direction direction) {
  const FrameTemplate content = bed_.frame_template(direction, plan_.wire_size);
  auto order = order_of(plan_, bed_.options().flow_space.seed);
  std::erase_if(order, [&](FlowNumber flow) {
    return bed_.options().mode == Mode::Nat && !bed_.flows().is_learned(flow);
  });
  bed_.sender(direction).prepare_load_pool(content);
  lanes_.push_back(
      {direction, expected_addresses(bed_.options(), direction),
       std::make_unique<Stream>(bed_.sender(direction), patches_of(bed_, direction, content, order),
                                Repetition::Endless)});
}

unsigned Load::receive(Lane& lane) {
  rte_mbuf* frames[kBurst];
  const std::uint16_t count = rte_eth_rx_burst(bed_.receiver(lane.direction).id(), 0, frames, kBurst);
  if (count == 0) return 0;
  for (std::uint16_t i = 0; i < count; ++i) __builtin_prefetch(rte_pktmbuf_mtod(frames[i], std::byte*));
  if (lane.bursts++ % kSampledBursts == 0) bed_.check(lane.direction, bytes_of(frames[0]));
  for (std::uint16_t i = 0; i < count; ++i) {
    if (frames[i]->pkt_len == frame_length_ &&
        lane.expected.holds(rte_pktmbuf_mtod(frames[i], const std::byte*))) {
      ++lane.received;
    } else {
      bed_.check(lane.direction, bytes_of(frames[i]));
    }
  }
  rte_pktmbuf_free_bulk(frames, count);
  return count;
}

Load::Mark Load::drive_until(std::uint64_t end) {
  std::uint64_t now = rte_rdtsc();
  while (now < end) {
    unsigned done = 0;
    for (Lane& lane : lanes_) done += receive(lane);
    const double due =
        plan_.rate_mpps == 0 ? 0 : static_cast<double>(now - start_) / tick_rate() * plan_.rate_mpps * 1e6;
    for (Lane& lane : lanes_)
      if (plan_.rate_mpps == 0 || static_cast<double>(lane.sent_in_run()) < due) done += lane.stream->send();
    const std::uint64_t before = now;
    now = rte_rdtsc();
    if (done > 0) busy_ticks_ += now - before;
  }
  Mark mark{.ticks = now, .busy_ticks = busy_ticks_};
  for (const Lane& lane : lanes_) {
    mark.received[static_cast<std::size_t>(lane.direction)] = lane.received;
    mark.bursts += lane.bursts;
  }
  return mark;
}

void Load::stop_and_drain() {
  const std::uint64_t end = rte_rdtsc() + static_cast<std::uint64_t>(kDrainTime * tick_rate());
  while (rte_rdtsc() < end)
    for (Lane& lane : lanes_) receive(lane);
}

LoadSample Load::run() {
  for (Lane& lane : lanes_) {
    lane.sent_before = lane.stream->sent();
    lane.received_before = lane.received;
  }
  const std::uint64_t preemptions = preemptions_of_this_thread();
  start_ = rte_rdtsc();
  const auto ticks = [](double seconds) { return static_cast<std::uint64_t>(seconds * tick_rate()); };
  const Mark from = drive_until(start_ + ticks(kWarmUp));
  const Mark to = drive_until(from.ticks + ticks(plan_.seconds));
  stop_and_drain();

  LoadSample sample = sample_between(from, to);
  std::uint64_t sent = 0, received = 0;
  for (const Lane& lane : lanes_) {
    sent += lane.sent_in_run();
    received += lane.received_in_run();
  }
  if (sent > received) sample.loss = static_cast<double>(sent - received) / static_cast<double>(sent);
  sample.preemptions = preemptions_of_this_thread() - preemptions;
  return sample;
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
