// SPDX-License-Identifier: Apache-2.0
// The generator's inner loop.
#include "bench/generator/stream.h"

#include <algorithm>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

namespace vmnat::bench {

Stream::Stream(Port& port, Row row, Repetition repetition, Stamping stamping)
    : row_(std::move(row)), repetition_(repetition), stamping_(stamping), port_(port) {}

Stream::~Stream() {
  rte_mempool_put_bulk(port_.load_pool(), reinterpret_cast<void**>(&buffers_[first_]), pending_);
  rte_mempool_put_bulk(port_.load_pool(), reinterpret_cast<void**>(taken_.data()), taken_count_);
}

void Stream::take_buffers() {
  const std::size_t left = repetition_ == Repetition::Endless ? kBurst : row_.patches.size() - next_;
  const auto count = static_cast<std::uint16_t>(std::min<std::size_t>(kBurst, left));
  if (count == 0 ||
      rte_mempool_get_bulk(port_.load_pool(), reinterpret_cast<void**>(taken_.data()), count) != 0)
    return;
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
  const std::uint16_t taken = port_.transmit(&buffers_[first_], count);
  first_ = static_cast<std::uint16_t>(first_ + taken);
  pending_ = static_cast<std::uint16_t>(pending_ - taken);
  sent_ += taken;
  return taken;
}

}  // namespace vmnat::bench
