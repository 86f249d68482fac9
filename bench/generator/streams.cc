// SPDX-License-Identifier: Apache-2.0
#include "bench/generator/streams.h"

#include <algorithm>
#include <unordered_map>

namespace vmnat::bench {
namespace {

// The frames of these flows, which all go out of one station.
Row row_of(const Tester& tester, const Station& from, const StreamPlan& plan,
           const std::vector<FlowNumber>& flows) {
  Row row;
  std::vector<FrameTemplate> contents;
  for (const unsigned wire_size : plan.frames.cycle()) {
    contents.push_back(tester.frame_template(from, wire_size));
    row.lengths.push_back(static_cast<std::uint16_t>(contents.back().length()));
  }
  const bool is_repeated = plan.repetition == Repetition::Endless;
  const std::size_t count = is_repeated ? plan.frames.row_length(flows.size()) : flows.size();
  row.patches.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const FlowNumber flow = flows[i % flows.size()];
    row.patches.push_back(
        contents[i % contents.size()].patch_of(tester.tuple_of(plan.direction, flow), flow));
  }
  return row;
}

}  // namespace

Streams::Streams(Tester& tester, const StreamPlan& plan) {
  std::unordered_map<const Station*, std::vector<FlowNumber>> flows_of;
  for (const FlowNumber flow : plan.flows) flows_of[&tester.source(plan.direction, flow)].push_back(flow);
  for (const auto& station : tester.senders(plan.direction)) {
    const std::vector<FlowNumber>& flows = flows_of[station.get()];
    if (flows.empty()) continue;
    streams_.push_back(std::make_unique<Stream>(station->port, row_of(tester, *station, plan, flows),
                                                plan.repetition, plan.stamping));
  }
}

std::uint64_t Streams::send(std::uint64_t most) {
  std::uint64_t taken = 0;
  for (std::size_t visits = 0; visits < streams_.size() && taken < most; ++visits) {
    taken += streams_[next_]->send(most - taken);
    if (++next_ == streams_.size()) next_ = 0;
  }
  sent_ += taken;
  return taken;
}

bool Streams::is_finished() const {
  return std::all_of(streams_.begin(), streams_.end(),
                     [](const auto& stream) { return stream->is_finished(); });
}

}  // namespace vmnat::bench
