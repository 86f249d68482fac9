// SPDX-License-Identifier: Apache-2.0
// PackedRecovery: where a packed ring is, found in the ring itself, after the process that drove it was killed.
//
// A split ring tells how far its device has come (the used index); of a packed one only the device and the VMM know,
// and a VMM whose back end dies, without having been asked, begins again with the place that it said the last time.
//
// PackedRing marks every descriptor that it is done with (packed_virtqueue.h). So, from the place on that it had come to:
//
//   offered ... old ...                          nothing was under way
//   offered ... given ... offered ... old ...    a frame's last chains were given back, its first ones not yet; or a
//                                                chain's last descriptors were marked
//
// "Offered" is what the guest has made available in this lap, "given" what was given back in it, "old" in the lap before.
// No other place of the ring looks so. What was under way is finished if the guest might see a part of it: the chains of
// a frame are all full, but for the last one, which was given back first. Else it is undone. No chain is lost or given
// back twice; a frame that a guest had sent is taken once.
//
// That the place is to be looked for, the device's event suppression says, whose place has no meaning while its flags are
// not kAtPlace: there stands what the VMM had said when the ring was opened.
//
// librte_vhost's thread, while no worker is at the ring; the guest may be.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "dataplane/device/guest_memory.h"
#include "dataplane/device/virtio.h"

namespace vmnat::dataplane {

class PackedRecovery {
 public:
  // Places as in VirtqueueLayout: the lap in the highest bit.
  PackedRecovery(std::span<virtio::PackedDescriptor> ring, const GuestMemory& memory)
      : ring_(ring), memory_(memory) {}

  // Finishes or undoes what was under way. Nothing when the ring looks as no PackedRing leaves it.
  std::optional<std::uint16_t> recover();

  // Has the VMM said the same place when the ring was opened last, and has not asked for another since?
  static bool is_forgotten(const virtio::EventSuppression& device_event, std::uint16_t told_place) {
    return virtio::load(device_event.place) == told_place &&
           virtio::load(device_event.flags) != virtio::EventSuppression::kAtPlace;
  }
  static void remember(virtio::EventSuppression& device_event, std::uint16_t told_place) {
    virtio::store(device_event.place, told_place);
  }
  // The VMM asks where the ring is; what it says the next time is true.
  static void forget(virtio::EventSuppression& device_event, std::uint16_t place) {
    virtio::store(device_event.place, static_cast<std::uint16_t>(~place));
  }

 private:
  enum class Mark : std::uint8_t { Offered, Given, Old, Odd };
  struct Place {
    unsigned index;
    bool lap;
  };
  struct Shape {
    Place place;
    unsigned offered = 0;  // descriptors before those that are given
    unsigned given = 0;
  };
  struct Chain {
    unsigned begin, count;  // descriptors, from the shape's place on
  };

  [[nodiscard]] Place ahead(Place place, unsigned by) const;
  [[nodiscard]] virtio::PackedDescriptor::State state_at(Place place) const;
  [[nodiscard]] Mark mark_at(Place place) const;
  [[nodiscard]] std::optional<Shape> shape_from(Place place) const;
  [[nodiscard]] std::optional<Shape> find_shape() const;
  [[nodiscard]] std::vector<Chain> chains_in(const Shape& shape) const;
  [[nodiscard]] std::uint32_t capacity(const Shape& shape, const Chain& chain) const;
  void set_mark(Place place, bool is_given);
  void give_back(const Shape& shape, const Chain& chain);

  std::span<virtio::PackedDescriptor> ring_;
  const GuestMemory& memory_;
};

}  // namespace vmnat::dataplane
