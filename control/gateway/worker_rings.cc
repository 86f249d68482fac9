// SPDX-License-Identifier: Apache-2.0
#include "control/gateway/worker_rings.h"

#include <bit>
#include <fmt/format.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include "dataplane/context/punt.h"

namespace vmnat::control {
namespace {

constexpr unsigned kInjectRingSize = 1024;
constexpr unsigned kHandoffRingSize = 2048;

// All that the budgets of a tick let through (punt.h), however many ports there will be. That many segments among
// them have all of theirs at once; of more, what is too much is dropped as `punt_full`.
constexpr std::size_t kSegments = 64;
constexpr unsigned kPuntRingSize = std::bit_ceil(
    static_cast<unsigned>(dataplane::PuntShares::among(kMostPorts).sum(kMostPorts, kSegments)) + 1);
constexpr unsigned kLearnRingSize =
    std::bit_ceil(static_cast<unsigned>(kMostPorts) * dataplane::kLearnedMacs + 1);

}  // namespace

void WorkerRings::Free::operator()(rte_ring* ring) const {
  rte_ring_free(ring);
}

// Room for the punts of four ticks.
WorkerRings::WorkerRings(std::size_t uplinks)
    : uplink_punt_size_(std::bit_ceil(4 * dataplane::uplink_punts(uplinks))) {}

Result<std::unique_ptr<WorkerRings>> WorkerRings::create(Doorbells& doorbells, std::size_t uplinks) {
  std::unique_ptr<WorkerRings> rings(new WorkerRings(uplinks));
  const auto worker_count = static_cast<unsigned>(doorbells.of_workers().size());
  rings->of_workers_.resize(worker_count);
  for (dataplane::Rings& of_worker : rings->of_workers_) of_worker.handoff_to.resize(worker_count);
  Result<void> made{};
  for (unsigned i = 0; i < worker_count && made; ++i) made = rings->connect_to_control(i, doorbells);
  for (unsigned from = 0; from < worker_count; ++from)
    for (unsigned to = 0; to < worker_count && made; ++to)
      if (from != to) made = rings->connect_with_each_other(from, to);
  if (!made) return tl::unexpected(made.error());
  return rings;
}

WorkerRings::~WorkerRings() {
  for (ControlRings& rings : of_control_) {
    rte_mbuf* frame = nullptr;
    for (dataplane::FrameRing* ring : {&rings.punt, &rings.uplink_punt})
      while (ring->pop(&frame, 1) == 1) rte_pktmbuf_free(frame);
  }
}

unsigned WorkerRings::waiting_for(WorkerIndex worker) const {
  unsigned frames = 0;
  for (const dataplane::FrameRing& ring : of_workers_[worker].handoff_from) frames += ring.count();
  return frames;
}

Result<rte_ring*> WorkerRings::make(const std::string& name, unsigned size, unsigned element_size) {
  rte_ring* ring =
      rte_ring_create_elem(name.c_str(), element_size, size, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
  if (ring == nullptr)
    return tl::unexpected(Error{"dataplane.memory", fmt::format("no room for ring {}", name)});
  rings_.emplace_back(ring);
  return ring;
}

Result<dataplane::FrameRing> WorkerRings::make_frame_ring(const std::string& name, unsigned size) {
  return make(name, size, sizeof(void*)).map([](rte_ring* ring) { return dataplane::FrameRing(ring); });
}

Result<void> WorkerRings::connect_to_control(unsigned worker, Doorbells& doorbells) {
  const auto punt = make_frame_ring(fmt::format("punt{}", worker), kPuntRingSize);
  const auto uplink_punt = make_frame_ring(fmt::format("uplink_punt{}", worker), uplink_punt_size_);
  const auto inject = make_frame_ring(fmt::format("inject{}", worker), kInjectRingSize);
  const auto learn = make(fmt::format("learn{}", worker), kLearnRingSize, sizeof(dataplane::LearnedMac));
  for (const auto* ring : {&punt, &uplink_punt, &inject})
    if (!*ring) return tl::unexpected(ring->error());
  if (!learn) return tl::unexpected(learn.error());
  dataplane::Rings& rings = of_workers_[worker];
  rings.punt = *punt;
  rings.uplink_punt = *uplink_punt;
  rings.inject = *inject;
  rings.learn = dataplane::LearnRing(*learn);
  rings.doorbells = doorbells.of_workers();
  rings.control = &doorbells.of_control();
  of_control_.push_back(
      {rings.punt, rings.uplink_punt, rings.learn, rings.inject, &doorbells.of_workers()[worker]});
  return {};
}

Result<void> WorkerRings::connect_with_each_other(unsigned from, unsigned to) {
  const auto ring = make_frame_ring(fmt::format("handoff{}-{}", from, to), kHandoffRingSize);
  if (!ring) return tl::unexpected(ring.error());
  of_workers_[from].handoff_to[to] = *ring;
  of_workers_[to].handoff_from.push_back(*ring);
  return {};
}

}  // namespace vmnat::control
