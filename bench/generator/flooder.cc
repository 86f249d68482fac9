// SPDX-License-Identifier: Apache-2.0
#include "bench/generator/flooder.h"

#include <cstring>
#include <fmt/format.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdexcept>
#include <utility>

namespace vmnat::bench {
namespace {

// A super-frame in one buffer: what a guest's driver would give in pieces.
constexpr std::uint16_t kLargeRoom = 65'535;
// More than a ring of 1024 holds: the driver gives none back before that is nearly full.
constexpr unsigned kSmallBuffers = 4095, kLargeBuffers = 1407;
constexpr std::size_t kSmallFrames = 1518;
constexpr std::uint32_t kMade = 0x464c4f44;  // at the start of a buffer that holds the frame already

rte_mempool* new_pool(bool is_large) {
  rte_mempool* pool =
      rte_pktmbuf_pool_create("flood", is_large ? kLargeBuffers : kSmallBuffers, 0, 0,
                              is_large ? kLargeRoom : RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
  if (pool == nullptr)
    throw std::runtime_error(fmt::format("no memory for the flood's buffers ({})", rte_strerror(rte_errno)));
  return pool;
}

std::uint64_t offloads_for(const Flood& flood) {
  return flood.segment_size == 0 ? 0 : RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
}

std::size_t size_of(const Flood& flood) {
  return flood.frame({}).size();
}

}  // namespace

Flooder::Flooder(const std::string& device_name, unsigned queue_size, const Flood& flood)
    : flood_(flood),
      port_(device_name, queue_size, offloads_for(flood)),
      pool_(new_pool(size_of(flood) > kSmallFrames)) {}

// The frame is copied into each buffer once: a frame of 64 KB would take the generator longer than the
// gateway.
void Flooder::make(rte_mbuf* buffer) {
  auto* const data = rte_pktmbuf_mtod(buffer, std::byte*);
  auto* const mark = static_cast<std::uint32_t*>(buffer->buf_addr);
  if (std::exchange(*mark, kMade) != kMade) std::memcpy(data, frame_.data(), frame_.size());
  if (flood_.vary != nullptr) flood_.vary(data, number_++);
  buffer->data_len = static_cast<std::uint16_t>(frame_.size());
  buffer->pkt_len = static_cast<std::uint32_t>(frame_.size());
  if (flood_.segment_size == 0) return;
  buffer->ol_flags =
      RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
  buffer->l2_len = 14;
  buffer->l3_len = 20;
  buffer->l4_len = 20;
  buffer->tso_segsz = flood_.segment_size;
}

void Flooder::refill() {
  std::uint16_t count = kBurst;
  while (count > 0 && rte_pktmbuf_alloc_bulk(pool_, buffers_.data(), count) != 0) count /= 2;
  for (std::uint16_t i = 0; i < count; ++i) make(buffers_[i]);
  first_ = 0;
  pending_ = count;
}

unsigned Flooder::turn() {
  discard_received();
  if (pending_ == 0) refill();
  const std::uint16_t taken = rte_eth_tx_burst(port_.id(), 0, &buffers_[first_], pending_);
  first_ = static_cast<std::uint16_t>(first_ + taken);
  pending_ = static_cast<std::uint16_t>(pending_ - taken);
  sent_ += taken;
  return taken;
}

void Flooder::discard_received() {
  std::array<rte_mbuf*, kBurst> frames;
  const std::uint16_t count = rte_eth_rx_burst(port_.id(), 0, frames.data(), kBurst);
  for (std::uint16_t i = 0; i < count; ++i) rte_pktmbuf_free(frames[i]);
}

}  // namespace vmnat::bench
