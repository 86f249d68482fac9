// SPDX-License-Identifier: Apache-2.0
// Rounds of sending what is missing.
#include "bench/generator/learning.h"

#include <fmt/format.h>
#include <rte_cycles.h>

#include "bench/generator/streams.h"

namespace vmnat::bench {
namespace {

constexpr unsigned kRounds = 30;
constexpr std::uint64_t kWindow = 512;    // frames under way
constexpr double kStall = 0.002;          // seconds without progress: what is under way is lost
constexpr double kPauseAfterLoss = 0.02;  // between rounds in which nothing at all came through
constexpr std::uint64_t kPollsPerReport = 1 << 15;

bool is_known(Tester& tester, Direction direction, FlowNumber flow) {
  return direction == Direction::Outbound ? tester.flows().is_learned(flow)
                                          : tester.flows().has_returned(flow);
}

std::vector<FlowNumber> missing_flows(Tester& tester, Direction direction, FlowNumber count) {
  std::vector<FlowNumber> missing;
  for (FlowNumber flow = 0; flow < count; ++flow) {
    const bool can_be_sent = direction == Direction::Outbound || tester.flows().is_learned(flow);
    if (can_be_sent && !is_known(tester, direction, flow)) missing.push_back(flow);
  }
  return missing;
}

// Sends one frame of each flow, with at most kWindow unanswered; the time of the last arrival.
std::uint64_t send_and_check(Tester& tester, Direction direction, const std::vector<FlowNumber>& flows) {
  Streams streams(tester, {.direction = direction, .flows = flows});
  const auto stall_ticks = static_cast<std::uint64_t>(kStall * static_cast<double>(rte_get_tsc_hz()));
  std::uint64_t settled = 0;  // frames that came back, or are given up
  std::uint64_t polls = 0;
  std::uint64_t last_arrival = rte_rdtsc();
  while (!streams.is_finished()) {
    if (streams.sent() < settled + kWindow) streams.send();
    if (tester.progress().is_shown() && ++polls % kPollsPerReport == 0)
      tester.progress().show(fmt::format("{} flows {}", streams.sent(), text_of(direction)));
    const unsigned arrived = tester.receive_and_check();
    settled += arrived;
    if (arrived > 0) {
      last_arrival = rte_rdtsc();
    } else if (rte_rdtsc() - last_arrival > stall_ticks) {
      settled = streams.sent();
      last_arrival = rte_rdtsc();
    }
  }
  poll_until(kStall * 5, [&] {
    const unsigned arrived = tester.receive_and_check();
    if (arrived > 0) last_arrival = rte_rdtsc();
    settled += arrived;
    return settled >= streams.sent();
  });
  return last_arrival;
}

struct SweepResult {
  FlowNumber missing;
  std::uint64_t retries;
  double seconds;
};

SweepResult sweep(Tester& tester, Direction direction, FlowNumber count) {
  tester.prepare_load_pools(direction, kSmallestFrame);
  SweepResult result{};
  auto missing = missing_flows(tester, direction, count);
  const std::uint64_t start = rte_rdtsc();
  for (unsigned round = 0; round < kRounds && !missing.empty(); ++round) {
    const std::size_t before = missing.size();
    if (round > 0) result.retries += before;
    const std::uint64_t last_arrival = send_and_check(tester, direction, missing);
    result.seconds = static_cast<double>(last_arrival - start) / static_cast<double>(rte_get_tsc_hz());
    missing = missing_flows(tester, direction, count);
    if (missing.size() == before)
      poll_until(kPauseAfterLoss, [&] { return tester.receive_and_check(), false; });
  }
  result.missing = static_cast<FlowNumber>(missing.size());
  return result;
}

}  // namespace

LearningResult learn_flows(Tester& tester, FlowNumber count) {
  tester.flows().reserve_flows(count);
  if (tester.options().mode != Mode::Nat) return {};
  const auto unknown = static_cast<FlowNumber>(missing_flows(tester, Direction::Outbound, count).size());
  // A first flow alone: the device resolves its next hops now, not under the burst.
  sweep(tester, Direction::Outbound, 1);
  const SweepResult out = sweep(tester, Direction::Outbound, count);
  sweep(tester, Direction::Inbound, 1);
  const SweepResult back = sweep(tester, Direction::Inbound, count);
  tester.drain();
  return {unknown - out.missing, out.missing, out.missing + back.missing, out.retries + back.retries,
          out.seconds};
}

}  // namespace vmnat::bench
