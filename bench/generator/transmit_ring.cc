// SPDX-License-Identifier: Apache-2.0
#include "bench/generator/transmit_ring.h"

#include "dataplane/device/virtio.h"

namespace vmnat::bench {
namespace {

namespace virtio = dataplane::virtio;

constexpr std::size_t kUsedRingAlignment = 4096;

std::uint16_t index_at(std::byte* ring) {
  return virtio::load(reinterpret_cast<virtio::RingStart*>(ring)->index);
}

bool has_mark(std::uint16_t flags, std::uint16_t mark, bool lap) {
  return ((flags & mark) != 0) == lap;
}

}  // namespace

// Relaxed: a number of the past only makes the driver wait a turn longer.
unsigned TransmitRing::split_frames() const {
  const std::size_t available = entries_ * sizeof(virtio::Descriptor);
  const std::size_t end = available + sizeof(virtio::RingStart) + entries_ * sizeof(std::uint16_t);
  const std::size_t used = (end + kUsedRingAlignment - 1) / kUsedRingAlignment * kUsedRingAlignment;
  return static_cast<std::uint16_t>(index_at(memory_ + available) - index_at(memory_ + used));
}

unsigned TransmitRing::packed_frames() {
  using virtio::PackedDescriptor;
  const auto* const ring = reinterpret_cast<const PackedDescriptor*>(memory_);
  const auto state_at = [ring](Place place) { return virtio::load(ring[place.index].state); };
  // The device may give several frames back by the first one's descriptor, which then has the last one's id (2.7.8).
  for (auto state = state_at(oldest_); has_mark(state.flags, PackedDescriptor::kAvailable, oldest_.lap) &&
                                       has_mark(state.flags, PackedDescriptor::kUsed, oldest_.lap);
       state = state_at(oldest_))
    oldest_ = beyond(oldest_, (state.id + entries_ - oldest_.index) % entries_ + 1);
  unsigned frames = 0;
  for (Place place = oldest_; frames < entries_; place = beyond(place, 1), ++frames) {
    const auto state = state_at(place);
    if (!has_mark(state.flags, PackedDescriptor::kAvailable, place.lap) ||
        has_mark(state.flags, PackedDescriptor::kUsed, place.lap))
      break;
  }
  return frames;
}

TransmitRing::Place TransmitRing::beyond(Place place, unsigned steps) const {
  const unsigned index = place.index + steps;
  return index < entries_ ? Place{index, place.lap} : Place{index - entries_, !place.lap};
}

}  // namespace vmnat::bench
