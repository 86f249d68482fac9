// SPDX-License-Identifier: Apache-2.0
// Control makes the watches, and frees them.
#include <bit>
#include <rte_mbuf_dyn.h>

#include "dataplane/observe/watch.h"

namespace vmnat::dataplane {

std::optional<TraceMark> TraceMark::find() {
  const rte_mbuf_dynfield field{
      .name = "vmnat_trace", .size = sizeof(std::uint32_t), .align = alignof(std::uint32_t), .flags = 0};
  const rte_mbuf_dynflag flag{.name = "vmnat_traced", .flags = 0};
  const int offset = rte_mbuf_dynfield_register(&field);
  const int bit = rte_mbuf_dynflag_register(&flag);
  if (offset < 0 || bit < 0) return std::nullopt;
  return TraceMark{.flag = std::uint64_t{1} << bit, .field = offset};
}

Watch::Watch(WorkerIndex worker, const Observations& observations, const TraceMark& mark)
    : mark_(mark), worker_(worker) {
  for (const auto& observation : observations) {
    Eye eye{.observation = observation, .ring = observation->rings[worker].get()};
    if (observation->to_trace != nullptr)
      tracer_ = std::make_unique<Eye>(std::move(eye));
    else
      eyes_.push_back(std::move(eye));
  }
}

Watches::Watches(unsigned workers, const Observations& observations, const TraceMark& mark) {
  for (unsigned worker = 0; worker < workers; ++worker)
    of_workers.emplace_back(static_cast<WorkerIndex>(worker), observations, mark);
}

}  // namespace vmnat::dataplane
