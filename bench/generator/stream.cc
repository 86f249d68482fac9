// SPDX-License-Identifier: Apache-2.0
// The generator's inner loop.
#include "bench/generator/stream.h"

#include <algorithm>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

namespace vmnat::bench {

Stream::Stream(const Port& port, Row row, Repetition repetition, Stamping stamping)
    : row_(std::move(row)),
      repetition_(repetition),
      stamping_(stamping),
      port_(port.id()),
      pool_(port.load_pool()) {}

Stream::~Stream() {
  rte_mempool_put_bulk(pool_, reinterpret_cast<void**>(&buffers_[first_]), pending_);
  rte_mempool_put_bulk(pool_, reinterpret_cast<void**>(taken_.data()), taken_count_);
}

void Stream::take_buffers() {
  const std::size_t left = repetition_ == Repetition::Endless ? kBurst : row_.patches.size() - next_;
  const auto count = static_cast<std::uint16_t>(std::min<std::size_t>(kBurst, left));
  if (count == 0 || rte_mempool_get_bulk(pool_, reinterpret_cast<void**>(taken_.data()), count) != 0) return;
  taken_count_ = count;
  for (std::uint16_t i = 0; i < count; ++i) __builtin_prefetch(rte_pktmbuf_mtod(taken_[i], std::byte*), 1);
}

void Stream::refill() {
  if (taken_count_ == 0) take_buffers();
  // Raw buffers: template and offset are as prepare_load_pool() left them, and the length where all are
  // alike.
  for (std::uint16_t i = 0; i < taken_count_; ++i) {
    row_.patches[next_].apply_to(rte_pktmbuf_mtod(taken_[i], std::byte*));
    if (row_.lengths.size() > 1) set_length(taken_[i]);
    if (++next_ == row_.patches.size() && repetition_ == Repetition::Endless) next_ = 0;
  }
  std::swap(buffers_, taken_);
  first_ = 0;
  stamped_ = 0;
  pending_ = taken_count_;
  taken_count_ = 0;
  take_buffers();
}

void Stream::set_length(rte_mbuf* buffer) {
  const std::uint16_t length = row_.lengths[slot_];
  if (++slot_ == row_.lengths.size()) slot_ = 0;
  buffer->data_len = length;
  buffer->pkt_len = length;
  set_ip_length(rte_pktmbuf_mtod(buffer, std::byte*), length);
}

void Stream::stamp_up_to(std::uint16_t end) {
  const auto now = static_cast<std::uint32_t>(rte_rdtsc());
  for (; stamped_ < end; ++stamped_) TimeStamp::write(rte_pktmbuf_mtod(buffers_[stamped_], std::byte*), now);
}

std::uint16_t Stream::send(std::uint64_t most) {
  if (pending_ == 0) refill();
  const auto count = static_cast<std::uint16_t>(std::min<std::uint64_t>(pending_, most));
  if (stamping_ == Stamping::EachFrame) stamp_up_to(static_cast<std::uint16_t>(first_ + count));
  const std::uint16_t taken = rte_eth_tx_burst(port_, 0, &buffers_[first_], count);
  first_ = static_cast<std::uint16_t>(first_ + taken);
  pending_ = static_cast<std::uint16_t>(pending_ - taken);
  sent_ += taken;
  return taken;
}

Row row_of(const Tester& tester, Direction direction, const FrameMix& mix,
           const std::vector<FlowNumber>& flows, Repetition repetition) {
  Row row;
  std::vector<FrameTemplate> contents;
  for (const unsigned wire_size : mix.cycle()) {
    contents.push_back(tester.frame_template(direction, wire_size));
    row.lengths.push_back(static_cast<std::uint16_t>(contents.back().length()));
  }
  const std::size_t count = repetition == Repetition::Endless ? mix.row_length(flows.size()) : flows.size();
  row.patches.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const FlowNumber flow = flows[i % flows.size()];
    row.patches.push_back(contents[i % contents.size()].patch_of(tester.tuple_of(direction, flow), flow));
  }
  return row;
}

}  // namespace vmnat::bench
