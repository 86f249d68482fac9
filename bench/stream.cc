// SPDX-License-Identifier: Apache-2.0
// The generator's inner loop.
#include "bench/stream.h"

#include <algorithm>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

namespace vmnat::bench {

Stream::Stream(const Port& port, std::vector<FlowPatch> patches, Repetition repetition)
    : patches_(std::move(patches)), repetition_(repetition), port_(port.id()), pool_(port.load_pool()) {}

Stream::~Stream() {
  rte_mempool_put_bulk(pool_, reinterpret_cast<void**>(&buffers_[first_]), pending_);
}

void Stream::take_buffers() {
  const std::size_t left = repetition_ == Repetition::Endless ? kBurst : patches_.size() - next_;
  const auto count = static_cast<std::uint16_t>(std::min<std::size_t>(kBurst, left));
  if (count == 0 || rte_mempool_get_bulk(pool_, reinterpret_cast<void**>(taken_.data()), count) != 0) return;
  taken_count_ = count;
  for (std::uint16_t i = 0; i < count; ++i) __builtin_prefetch(rte_pktmbuf_mtod(taken_[i], std::byte*), 1);
}

void Stream::refill() {
  if (taken_count_ == 0) take_buffers();
  // Raw buffers: template, length and offset are as prepare_load_pool() left them.
  for (std::uint16_t i = 0; i < taken_count_; ++i) {
    patches_[next_].apply_to(rte_pktmbuf_mtod(taken_[i], std::byte*));
    if (++next_ == patches_.size() && repetition_ == Repetition::Endless) next_ = 0;
  }
  std::swap(buffers_, taken_);
  first_ = 0;
  pending_ = taken_count_;
  taken_count_ = 0;
  take_buffers();
}

std::uint16_t Stream::send() {
  if (pending_ == 0) refill();
  const std::uint16_t taken = rte_eth_tx_burst(port_, 0, &buffers_[first_], pending_);
  first_ = static_cast<std::uint16_t>(first_ + taken);
  pending_ = static_cast<std::uint16_t>(pending_ - taken);
  sent_ += taken;
  return taken;
}

std::vector<FlowPatch> patches_of(const TestBed& bed, Direction direction, const FrameTemplate& content,
                                  const std::vector<FlowNumber>& flows) {
  std::vector<FlowPatch> patches;
  patches.reserve(flows.size());
  for (const FlowNumber flow : flows)
    patches.push_back(content.patch_of(bed.tuple_of(direction, flow), flow));
  return patches;
}

}  // namespace vmnat::bench
