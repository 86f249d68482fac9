// SPDX-License-Identifier: Apache-2.0
#include "dataplane/worker/worker.h"

#include <rte_cycles.h>
#include <utility>

#include "dataplane/device/claims.h"
#include "dataplane/observe/watch.h"
#include "dataplane/pipeline/pipeline.h"

namespace vmnat::dataplane {
namespace {

constexpr std::uint64_t kBytesOfAFrame = 2048;  // for a port's share: a super-frame counts for so many

}  // namespace

void Worker::run() {
  std::uint64_t begin = rte_rdtsc();
  rest_.begin(begin);
  while (!stop_.load(std::memory_order_relaxed)) {
    const unsigned frames = poll_once(begin);
    if (settings_.idle == Idle::Adaptive && rest_.note_poll(frames, begin)) {
      rest_.rest(frames, begin, longest_sleep());
      if (frames != 0) settings_.rings.wake_control();  // it rests while the workers do
    }
    const std::uint64_t end = rte_rdtsc();
    counters_.total_cycles.add(end - begin);
    if (frames != 0) counters_.busy_cycles.add(end - begin);
    begin = end;
  }
  drain_rings();
}

unsigned Worker::poll_once(std::uint64_t tsc) {
  // Before the state: control injects a frame after it has published what the frame needs.
  rte_mbuf* injected[kBurstSize];
  unsigned frames = settings_.rings.inject.pop(injected, kBurstSize);
  // Pairs with the publisher's release store: the snapshot's contents are visible.
  context_.state = settings_.published->load(std::memory_order_acquire);
  if (context_.state->policies.get() != policies_ || context_.state->external_addresses.get() != external_)
    follow(*context_.state);
  PollSet* const polled = context_.state->polled[settings_.index].get();
  if (polled != polled_) adopt(*polled);
  if (context_.state->watches.get() != watches_) watch_for(context_.state->watches.get());
  if (context_.state->listeners.get() != listeners_) tell(context_.state->listeners.get());
  if (context_.state->limits.get() != limits_) limit_by(context_.state->limits.get());
  tsc_ = tsc;
  transmitter_.begin_poll(tsc);
  read_clock(tsc);
  if (frames != 0) take_injected(injected, frames);
  frames += polled->poll(rest_.is_resting() ? Look::AtAll : Look::AtSomeIdle,
                         [this](PolledQueue& queue) { return receive(queue); });
  run_gathered();
  if (limits_ != nullptr && limit_gate_.end_turn()) ++frames;  // it does not rest now
  for (FrameRing& ring : settings_.rings.handoff_from) frames += take_handoffs(ring);
  transmitter_.flush(*context_.state);
  if (transmitter_.stays_awake()) ++frames;
  if (flush_box_.has_work()) frames += flush_sessions();
  if (inspection_box_.has_work()) inspection_box_.run(*conntrack_);
  expire_sessions(tsc);
  // Quiescent: nothing of this state is referred to any more. Pairs with the publisher's acquire load.
  seen_generation_.store(context_.state->generation, std::memory_order_release);
  polls_.add(1);
  return frames;
}

// Of frames that have just come from the device, from `first` on. Those whose claims cannot be right leave the burst.
void Worker::settle_claims(const BurstPort& device, unsigned first) {
  burst_.keep_if([&](unsigned i) {
    if (i < first) return true;
    rte_mbuf* frame = burst_.frames[i];
    if (device.is_dpdk()) frame->l2_len = 0;  // drivers may leave what was there before
    if (!is_unfinished(frame) || settle(frame)) return true;
    context_.drop(frame, burst_.ports[i], DropReason::Offload);
    return false;
  });
}

// The same of a port that is one VLAN of its device: others' frames leave the burst, and the port's have no tag any more.
void Worker::leave_vlan(std::uint16_t vlan, unsigned first) {
  burst_.keep_if([&](unsigned i) {
    if (i < first) return true;
    rte_mbuf* frame = burst_.frames[i];
    if (vlan_of(frame) == vlan) return remove_tag(frame), true;
    context_.drop(frame, burst_.ports[i], DropReason::OtherVlan);
    return false;
  });
}

// An uplink's frames go their way at once, those of VMs' ports when they fill a burst, or at the end of the turn.
unsigned Worker::receive(PolledQueue& polled) {
  ReceiveQueue& queue = polled.queue;
  if (!polled.share.has_turn()) {
    counters_.receive_deferred.add(1);
    return 1;  // frames may be waiting: the worker does not rest
  }
  unsigned most = kBurstSize;
  const PortLimits* const limits = polled.is_limited ? limits_->of(queue.port) : nullptr;
  if (limits != nullptr && (most = limited_room(polled, *limits)) == 0)
    return limits->out.is_patient() ? 0 : 1;  // it may be slept over for a millisecond, or not
  const bool is_uplink = queue.port < settings_.uplink_count;
  // Whoever has many frames gets half a burst at least, however many others have one.
  if (is_uplink || queue.device.gives_whole_bursts() || burst_.count > kBurstSize / 2) run_gathered();
  StageClock clock(counters_.stages);
  const unsigned first = burst_.count;
  const unsigned asked = std::min(most, kBurstSize - first);
  const unsigned received = queue.device.receive(queue.queue_id, queue.pool, burst_.frames + first,
                                                 static_cast<std::uint16_t>(asked));
  if (received == 0) return 0;
  std::uint64_t bytes = 0;
  std::uint64_t flags = 0;
  for (unsigned i = first; i < first + received; ++i) {
    burst_.ports[i] = queue.port;
    bytes += burst_.frames[i]->pkt_len;
    flags |= burst_.frames[i]->ol_flags;
  }
  burst_.count = static_cast<std::uint16_t>(first + received);
  PortCounters& counters = counters_.ports[queue.port];
  counters.rx_packets.add(received);
  counters.rx_bytes.add(bytes);
  if (counters_.watch != nullptr) counters_.watch->see_received(queue.port, burst_.frames + first, received);
  clock.lap(Stage::Receive, received);
  gathered_[gathered_count_++] = {&polled, bytes};
  if (may_be_unfinished(flags)) settle_claims(queue.device, first);
  if (queue.device.vlan != kNoVlan) leave_vlan(queue.device.vlan, first);
  if (limits != nullptr)
    limit_gate_.charge(*context_.state, *limits,
                       {.port = queue.port,
                        .frames = {burst_.frames + first, std::size_t{burst_.count} - first},
                        .has_more = received == asked},
                       tsc_);
  const bool is_full = burst_.count == kBurstSize || gathered_count_ == gathered_.size();
  if (is_uplink || is_full) run_gathered();
  return received;
}

// How many frames may come from a queue whose port has a limit. DPDK's drivers are asked for a burst, or for nothing.
unsigned Worker::limited_room(PolledQueue& polled, const PortLimits& limits) {
  const unsigned room = limit_gate_.room(limits, polled.queue.port, tsc_, kBurstSize);
  const bool was_held = std::exchange(polled.is_held, room == 0);
  if (room == 0 && !was_held) counters_.ports[polled.queue.port].limited_out.add(1);
  return room != 0 && polled.queue.device.gives_whole_bursts() ? kBurstSize : room;
}

// The burst of what has been received, of one queue or several, each of which pays for the work that its frames made.
void Worker::run_gathered() {
  if (gathered_count_ == 0) return;
  if (gathered_[0].from->queue.port < settings_.uplink_count)
    run_inbound(context_, burst_);
  else
    run_outbound(context_, burst_);
  for (const Gathered& gathered : std::span{gathered_.data(), gathered_count_}) {
    PortCounters& port = counters_.ports[gathered.from->queue.port];
    const std::uint64_t made = port.made.get() - std::exchange(port.made_charged, port.made.get());
    gathered.from->share.charge(made + gathered.bytes / kBytesOfAFrame);
  }
  gathered_count_ = 0;
}

unsigned Worker::take_handoffs(FrameRing& ring) {
  rte_mbuf* frames[kBurstSize];
  const unsigned count = ring.pop(frames, kBurstSize);
  if (count != 0) run_errands(context_, burst_, frames, count);
  return count;
}

void Worker::take_injected(rte_mbuf** frames, unsigned count) {
  counters_.injected.add(count);
  if (counters_.watch != nullptr && counters_.watch->traces()) counters_.watch->see_injected(frames, count);
  run_errands(context_, burst_, frames, count);
}

// Ticks since start. The division is done once a tick, not once a poll.
void Worker::read_clock(std::uint64_t tsc) {
  if (tsc < next_tick_tsc_) return;
  constexpr std::uint64_t kTicksPerSecond = Ticks::period::den;
  const std::uint64_t ticks = (tsc - settings_.start_tsc) * kTicksPerSecond / settings_.tsc_hz;
  context_.now = Time{Ticks{static_cast<std::uint32_t>(ticks)}};
  next_tick_tsc_ = settings_.start_tsc + (ticks + 1) * settings_.tsc_hz / kTicksPerSecond;
}

void Worker::expire_sessions(std::uint64_t tsc) {
  if (!expiry_pace_.is_due(tsc)) return;
  conntrack_->expire(context_.now, expiry_pace_.take(tsc));
  fragments_.expire(context_.now);
}

// What is done by time is done by ticks of the clock: sessions and fragments end, budgets are refilled. So a
// tick is slept over, unless a poll cannot make up for one in so full a table. What waits for a limit is looked after
// each millisecond.
std::chrono::milliseconds Worker::longest_sleep() const {
  if (transmitter_.is_holding() || limit_gate_.is_holding()) return std::chrono::milliseconds{1};
  return std::min(std::chrono::floor<std::chrono::milliseconds>(Ticks{1}),
                  expiry_pace_.longest_silence(conntrack_->high_water()));
}

// One is what is left to do, so that the worker does not rest.
unsigned Worker::flush_sessions() {
  flush_box_.flush_some(*conntrack_, context_.now);
  return 1;
}

// What the state before has stays in memory until the quiescent point of this poll.
void Worker::follow(const ForwardingState& state) {
  external_ = state.external_addresses.get();
  policies_ = state.policies.get();
  conntrack_->follow(*external_, *policies_);
}

// The set before stays in memory until the quiescent point of this poll. Budgets that ports share are divided anew
// only when their number changes: no guest has its own filled by coming and going.
void Worker::adopt(PollSet& polled) {
  rest_.follow(polled.queues());
  const bool is_first = polled_ == nullptr;
  if (!is_first) polled.take_debts_of(*polled_);
  if (is_first || polled.sharers() != polled_->sharers()) {
    fragments_.share_among(polled.sharers().ports);
    punt_budgets_.share_among(polled.sharers().ports, settings_.uplink_count);
    conntrack_->share_among(polled.sharers().guests);
  }
  polled_ = &polled;
  limit_queues(context_.state->limits.get());
}

// Those before stay in memory until the quiescent point of this poll.
void Worker::limit_by(const LimitTable* limits) {
  limits_ = limits;
  transmitter_.follow(limits);
  if (limits == nullptr) limit_gate_.end_holding();
  limit_queues(limits);
}

void Worker::limit_queues(const LimitTable* limits) {
  for (PolledQueue& polled : polled_->queues()) {
    const PortLimits* const of_port = limits != nullptr ? limits->of(polled.queue.port) : nullptr;
    polled.is_limited = of_port != nullptr && of_port->out.is_any();
    polled.is_held = polled.is_held && polled.is_limited;
  }
}

// Those before stay in memory until the quiescent point of this poll.
void Worker::watch_for(Watches* watches) {
  watches_ = watches;
  counters_.watch = watches != nullptr ? &watches->of_workers[settings_.index] : nullptr;
}

void Worker::tell(const conntrack::SessionListeners* listeners) {
  listeners_ = listeners;
  conntrack_->tell(listeners != nullptr ? &(*listeners)[settings_.index] : nullptr);
}

void Worker::drain_rings() {
  rte_mbuf* frames[kBurstSize];
  const auto drain = [&](FrameRing& ring) {
    while (const unsigned count = ring.pop(frames, kBurstSize)) rte_pktmbuf_free_bulk(frames, count);
  };
  for (FrameRing& ring : settings_.rings.handoff_from) drain(ring);
  drain(settings_.rings.inject);
  transmitter_.free_held();
  fragments_.clear();
}

}  // namespace vmnat::dataplane
