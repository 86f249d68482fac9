// SPDX-License-Identifier: Apache-2.0
// No cache line is written by two workers for a frame that finds its session: what each of them writes lies in lines of its
// own. By inspection that is its Worker with counters, tables and transmit buffers, its PollSet, the rings of the queues
// that it polls or fills, and one end of each hand-off ring; all else is read. This holds the layouts.
#include <cstddef>
#include <gtest/gtest.h>
#include <rte_ring.h>

#include "dataplane/worker/worker.h"

namespace vmnat::test {
namespace {

using namespace dataplane;

// Its size is a multiple of its alignment: whatever stands beside it begins a line.
template <typename T>
constexpr bool has_lines_of_its_own() {
  return alignof(T) % kCacheLineSize == 0;
}
static_assert(has_lines_of_its_own<Worker>());
static_assert(has_lines_of_its_own<WorkerCounters>());
static_assert(has_lines_of_its_own<PortCounters>());
static_assert(has_lines_of_its_own<Doorbell>());
static_assert(has_lines_of_its_own<conntrack::Session>());
static_assert(has_lines_of_its_own<conntrack::TagIndex::Bucket>());

// The two ends of a ring, one worker's each.
static_assert(offsetof(rte_ring, prod) / kCacheLineSize != offsetof(rte_ring, cons) / kCacheLineSize);

TEST(Layout, RingsOfAPortsQueuesShareNoLine) {
  static VhostPort port;
  const auto line_of = [](const void* at) { return reinterpret_cast<std::uintptr_t>(at) / kCacheLineSize; };
  for (unsigned ring = 0; ring + 1 < 2 * VhostPort::kMostQueues; ++ring) {
    EXPECT_LT(line_of(&port.queue(ring)), line_of(&port.queue(ring + 1)));
    EXPECT_LT(line_of(&port.deferrals(ring)), line_of(&port.queue(ring + 1)));
    EXPECT_LT(line_of(&port.interrupts(ring)), line_of(&port.queue(ring + 1)));
  }
  EXPECT_NE(line_of(&port.memory()), line_of(&port.queue(0)));
}

}  // namespace
}  // namespace vmnat::test
