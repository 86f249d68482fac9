// SPDX-License-Identifier: Apache-2.0
#include "dataplane/device/packed_recovery.h"

#include <algorithm>

#include "dataplane/device/guest_copy.h"

namespace vmnat::dataplane {
namespace {

using virtio::Descriptor;
using virtio::PackedDescriptor;

constexpr unsigned kTries = 64;           // the guest may be about to offer something
constexpr unsigned kSmallRing = 1024;     // descriptors; of a larger one not every place is tried
constexpr unsigned kCandidates = 8;       // places where marks change; PackedRing leaves three at most
constexpr unsigned kLongestTable = 4096;  // entries that are looked at

std::uint16_t as_told(unsigned index, bool lap) {
  return static_cast<std::uint16_t>(index | (lap ? virtio::EventSuppression::kLap : 0u));
}

}  // namespace

PackedRecovery::Place PackedRecovery::ahead(Place place, unsigned by) const {
  const auto size = static_cast<unsigned>(ring_.size());
  return place.index + by < size ? Place{place.index + by, place.lap}
                                 : Place{place.index + by - size, !place.lap};
}

// Acquire: what stands in the chain is read after it; the guest's release is its store of the flags.
PackedDescriptor::State PackedRecovery::state_at(Place place) const {
  return virtio::load(ring_[place.index].state, std::memory_order_acquire);
}

PackedRecovery::Mark PackedRecovery::mark_at(Place place) const {
  const std::uint16_t flags = state_at(place).flags;
  const bool is_available = ((flags & PackedDescriptor::kAvailable) != 0) == place.lap;
  if (((flags & PackedDescriptor::kUsed) != 0) == place.lap) return is_available ? Mark::Given : Mark::Odd;
  return is_available ? Mark::Offered : Mark::Old;
}

std::optional<PackedRecovery::Shape> PackedRecovery::shape_from(Place place) const {
  Shape shape{.place = place};
  bool has_passed_given = false, is_old = false;
  for (unsigned i = 0; i < ring_.size(); ++i) {
    const Mark mark = mark_at(ahead(place, i));
    const bool is_first_offered = !has_passed_given && !is_old && shape.given == 0;
    if (mark == Mark::Odd || (mark == Mark::Offered && is_old)) return std::nullopt;
    if (mark == Mark::Given && (i == 0 || is_old || has_passed_given)) return std::nullopt;
    if (mark == Mark::Given) ++shape.given;
    if (mark == Mark::Offered && is_first_offered) ++shape.offered;
    has_passed_given |= mark != Mark::Given && shape.given != 0;
    is_old |= mark == Mark::Old;
  }
  return shape;
}

// Where the device's marks change; or at the start, where they all may be of one lap; or anywhere, when one frame fills
// all of the ring.
std::optional<PackedRecovery::Shape> PackedRecovery::find_shape() const {
  unsigned candidates = 0;
  bool last = false;
  const bool is_small = ring_.size() <= kSmallRing;
  for (unsigned i = 0; i < ring_.size() && (is_small || candidates < kCandidates); ++i) {
    const bool is_marked = (state_at({i, true}).flags & PackedDescriptor::kUsed) != 0;
    if (i == 0 || is_small || is_marked != last) {
      if (const auto shape = shape_from({i, !is_marked})) return shape;
      ++candidates;
    }
    last = is_marked;
  }
  return std::nullopt;
}

// Those whose first descriptor is still offered, up to what is given.
std::vector<PackedRecovery::Chain> PackedRecovery::chains_in(const Shape& shape) const {
  std::vector<Chain> chains;
  for (unsigned at = 0; at < shape.offered;) {
    const unsigned begin = at;
    while (at < ring_.size() && (state_at(ahead(shape.place, at)).flags & Descriptor::kNext) != 0) ++at;
    ++at;
    chains.push_back({begin, std::min<unsigned>(at, static_cast<unsigned>(ring_.size())) - begin});
  }
  return chains;
}

// Bytes of its buffers.
std::uint32_t PackedRecovery::capacity(const Shape& shape, const Chain& chain) const {
  std::uint32_t sum = 0;
  for (unsigned i = 0; i < chain.count; ++i) {
    const auto descriptor = read_once<PackedDescriptor>(&ring_[ahead(shape.place, chain.begin + i).index]);
    std::uint64_t reach = 0;
    const std::byte* const table = memory_.find(descriptor.address, reach);
    if ((descriptor.state.flags & Descriptor::kIndirect) == 0) {
      sum += descriptor.state.length;
    } else if (reach >= descriptor.state.length) {
      const unsigned entries = std::min<unsigned>(descriptor.state.length / sizeof descriptor, kLongestTable);
      for (unsigned entry = 0; entry < entries; ++entry)
        sum += read_once<PackedDescriptor>(table + entry * sizeof descriptor).state.length;
    }
  }
  return sum;
}

void PackedRecovery::set_mark(Place place, bool is_given) {
  PackedDescriptor::State state = state_at(place);
  const int others = state.flags & ~PackedDescriptor::kUsed;
  state.flags = static_cast<std::uint16_t>(others | (place.lap == is_given ? PackedDescriptor::kUsed : 0));
  virtio::store(ring_[place.index].state, state);
}

void PackedRecovery::give_back(const Shape& shape, const Chain& chain) {
  const Place first = ahead(shape.place, chain.begin);
  PackedDescriptor::State state = state_at(ahead(first, chain.count - 1));  // which has the id
  state.length = capacity(shape, chain);
  const int marks = first.lap ? PackedDescriptor::kAvailable | PackedDescriptor::kUsed : 0;
  state.flags = static_cast<std::uint16_t>(marks | PackedDescriptor::kWritten);
  for (unsigned i = chain.count - 1; i > 0; --i) set_mark(ahead(first, i), true);
  virtio::store(ring_[first.index].state, state, std::memory_order_release);  // the guest's acquire: its load
}

std::optional<std::uint16_t> PackedRecovery::recover() {
  std::optional<Shape> shape;
  for (unsigned i = 0; i < kTries && !shape; ++i) shape = find_shape();
  if (!shape) return std::nullopt;
  const Place place = shape->place;
  if (shape->given == 0) return as_told(place.index, place.lap);
  const unsigned end = shape->offered + shape->given;
  const std::vector<Chain> chains = chains_in(*shape);
  const bool has_guest_seen_it = chains.back().begin + chains.back().count < end;
  if (!has_guest_seen_it) {  // marks of a chain's followers alone
    for (unsigned i = shape->offered; i < end; ++i) set_mark(ahead(place, i), false);
    return as_told(place.index, place.lap);
  }
  std::for_each(chains.rbegin(), chains.rend(), [&](const Chain& chain) { give_back(*shape, chain); });
  const Place behind = ahead(place, end);
  return as_told(behind.index, behind.lap);
}

}  // namespace vmnat::dataplane
