// SPDX-License-Identifier: Apache-2.0
// What a burst of frames of 60 bytes costs at a guest's ring: ticks a frame, by the ring's format.
//
//   take, put   out of the guest's memory, and into it
//   cold        the ring and the buffers have left all caches before each burst, as when another CPU has written them
//
// The guest's part, between bursts on the same CPU, is not counted.
#include <algorithm>
#include <array>
#include <benchmark/benchmark.h>
#include <immintrin.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_mbuf.h>
#include <vector>

#include "tests/support/fake_guest.h"

namespace vmnat::bench {
namespace {

using dataplane::FrameSet;
using dataplane::kBurstSize;
using dataplane::virtio::kPackedRing;
using dataplane::virtio::kVersion1;
using test::Bytes;
using test::FakeGuest;

constexpr std::uint16_t kBurst = kBurstSize, kRing = 256;
constexpr std::size_t kBuffer = 256;

rte_mempool* pool() {
  static rte_mempool* const pool = [] {
    std::array<const char*, 9> arguments{
        "bench", "--no-huge", "--no-pci", "--no-shconf", "--no-telemetry", "-m", "64", "-l", "0"};
    rte_eal_init(arguments.size(), const_cast<char**>(arguments.data()));
    return rte_pktmbuf_pool_create("bench", 1023, 64, 0, 2048 + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
  }();
  return pool;
}

class Bursts {
 public:
  explicit Bursts(std::uint64_t format) : guest_(kVersion1 | format, 0, kRing) {
    for (unsigned i = 0; i < kRing; ++i) buffers_.push_back(guest_.place(Bytes(kBuffer)));
    guest_.forbid_calls();
  }
  FakeGuest& guest() { return guest_; }

  void offer(std::uint32_t length) {
    for (unsigned i = 0; i < kBurst; ++i, next_ = (next_ + 1) % kRing)
      guest_.offer(static_cast<std::uint16_t>(next_), {{buffers_[next_].address, length}});
  }
  void leave_caches() {
    const std::byte* const memory = guest_.here(FakeGuest::kLow);
    for (std::size_t at = 0; at < kRing * kBuffer; at += 64) _mm_clflush(memory + at);
    for (unsigned i = 0; i < kRing; i += 4) {
      _mm_clflush(&guest_.descriptor(i));
      _mm_clflush(&guest_.packed().ring()[i]);
    }
    _mm_mfence();
  }

 private:
  FakeGuest guest_;
  std::vector<FakeGuest::Buffer> buffers_;
  unsigned next_ = 0;
};

template <typename Burst>
void bursts(benchmark::State& state, std::uint32_t offered, Burst burst) {
  static_cast<void>(pool());
  Bursts bursts(state.range(0) != 0 ? kPackedRing : 0);
  std::vector<std::uint64_t> all;
  for (auto _ : state) {
    bursts.guest().used();
    bursts.offer(offered);
    if (state.range(1) != 0) bursts.leave_caches();
    const std::uint64_t begin = rte_rdtsc_precise();
    burst(bursts.guest());
    all.push_back(rte_rdtsc_precise() - begin);
    state.SetIterationTime(static_cast<double>(all.back()) * 1e-9);  // the column of times has ticks, too
  }
  std::ranges::nth_element(all, all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2));
  state.counters["ticks_a_frame"] = static_cast<double>(all[all.size() / 2]) / kBurst;
}

void take(benchmark::State& state) {
  std::array<rte_mbuf*, kBurst> frames{};
  bursts(state, 72, [&](FakeGuest& guest) {
    const std::uint16_t count = guest.queue().take(pool(), frames.data(), kBurst);
    if (count != kBurst) state.SkipWithError("frames were not taken");
    rte_pktmbuf_free_bulk(frames.data(), count);
  });
}

void put(benchmark::State& state) {
  std::array<rte_mbuf*, kBurst> frames{};
  if (rte_pktmbuf_alloc_bulk(pool(), frames.data(), kBurst) != 0) return state.SkipWithError("no buffers");
  for (rte_mbuf* frame : frames) frame->data_len = frame->pkt_len = 60;
  bursts(state, kBuffer, [&](FakeGuest& guest) {
    if (guest.queue().put(frames.data(), kBurst).sent != FrameSet::first(kBurst))
      state.SkipWithError("frames were not put");
  });
  rte_pktmbuf_free_bulk(frames.data(), kBurst);
}

void rows(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"packed", "cold"})->ArgsProduct({{0, 1}, {0, 1}})->UseManualTime()->Iterations(20'000);
}
BENCHMARK(take)->Apply(rows);
BENCHMARK(put)->Apply(rows);

}  // namespace
}  // namespace vmnat::bench

BENCHMARK_MAIN();
