// SPDX-License-Identifier: Apache-2.0
// PackedDriver: a driver's side of a packed ring (virtio 1.1, 2.7): it offers chains, and hears of what was used.
//
//   driver.offer(chain, 7)    a chain of descriptors, whose id is 7
//   driver.used()             {7, bytes written} once it has come back
//
// A copy of it is another ring with the same past; assigned back, the ring is again what it was, at its place in memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "dataplane/device/virtio.h"

namespace vmnat::test {

class PackedDriver {
 public:
  using Descriptor = dataplane::virtio::PackedDescriptor;
  struct Place {
    std::uint16_t index = 0;
    bool lap = true;
    void move_on(unsigned by, unsigned size) {
      const unsigned beyond = index + by;
      index = static_cast<std::uint16_t>(beyond % size);
      if (beyond / size % 2 != 0) lap = !lap;
    }
    // As the two sides tell each other of it.
    [[nodiscard]] std::uint16_t told() const {
      return static_cast<std::uint16_t>(index | (lap ? dataplane::virtio::EventSuppression::kLap : 0));
    }
  };

  // Of a ring through which `start` descriptors have gone, and all have come back.
  explicit PackedDriver(std::uint16_t size, std::uint16_t start = 0) : ring_(size) {
    next_ = next_used_ = place_of(start);
    for (std::uint16_t i = 0; i < size; ++i)
      ring_[i].state.flags = (i < next_.index) == next_.lap ? kBothMarks : std::uint16_t{0};
  }

  std::vector<Descriptor>& ring() { return ring_; }
  [[nodiscard]] bool has_all_back() const { return offered_.empty(); }
  // When so many descriptors have gone round.
  [[nodiscard]] Place place_of(std::uint16_t count) const {
    const auto size = static_cast<unsigned>(ring_.size());
    return {static_cast<std::uint16_t>(count % size), count / size % 2 == 0};
  }
  // Flags of what is on offer in a lap.
  static std::uint16_t offered(bool lap) { return lap ? Descriptor::kAvailable : Descriptor::kUsed; }

  // One after another, whatever number leads on in them; the first one is marked last. Without room nothing happens.
  void offer(std::span<const dataplane::virtio::Descriptor> chain, std::uint16_t id) {
    std::size_t on_offer = chain.size();
    for (const Offered& before : offered_) on_offer += before.count;
    if (on_offer > ring_.size()) return;
    const auto size = static_cast<unsigned>(ring_.size());
    Place at = next_;
    std::vector<Place> places;
    for (std::size_t i = 0; i < chain.size(); ++i, at.move_on(1, size)) places.push_back(at);
    for (std::size_t i = chain.size(); i-- > 0;) {
      const auto flags = static_cast<std::uint16_t>((chain[i].flags & ~kBothMarks) | offered(places[i].lap));
      ring_[places[i].index] = {chain[i].address, {chain[i].length, id, flags}};
    }
    next_ = at;
    offered_.push_back({id, static_cast<unsigned>(chain.size())});
  }
  // What came back since the last time.
  std::vector<dataplane::virtio::UsedElement> used() {
    std::vector<dataplane::virtio::UsedElement> elements;
    while (!offered_.empty()) {
      const Descriptor::State state = ring_[next_used_.index].state;
      if ((state.flags & kBothMarks) != (next_used_.lap ? kBothMarks : 0)) break;
      elements.push_back({.head = state.id, .length = state.length});
      next_used_.move_on(offered_.front().count, static_cast<unsigned>(ring_.size()));
      offered_.pop_front();
    }
    return elements;
  }

 private:
  // Whose chain, and of how many descriptors.
  struct Offered {
    std::uint16_t id;
    unsigned count;
  };
  static constexpr std::uint16_t kBothMarks = Descriptor::kAvailable | Descriptor::kUsed;

  std::vector<Descriptor> ring_;
  Place next_, next_used_;       // of what is offered, and of what comes back
  std::deque<Offered> offered_;  // that has not come back
};

}  // namespace vmnat::test
