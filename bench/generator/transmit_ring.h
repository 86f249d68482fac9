// SPDX-License-Identifier: Apache-2.0
// TransmitRing: how many frames of a virtio driver are under way, as the memory that it shares with the device says.
//
// Drivers of DPDK take as many frames as a ring holds: rte_eth_tx_queue_setup() accepts no number below 32, and buffers that
// the device has given back come to the driver's notice late, when the ring is nearly full. The ring itself is up to date:
//
//   split    the driver's index of the available ring less the device's of the used ring
//   packed   descriptors from the oldest one on that the driver has made available, and the device has not used
//
// The memory is laid out as DPDK does it (of split rings: virtio 1.1, 2.6.2), a frame takes one descriptor, and the device
// gives frames back in order. Owned by the thread that sends.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vmnat::bench {

enum class RingFormat : std::uint8_t { Split, Packed };

class TransmitRing {
 public:
  // `memory` is aligned to a page, and outlives this; nothing has been sent yet.
  TransmitRing(std::byte* memory, unsigned entries, RingFormat format)
      : memory_(memory), entries_(entries), format_(format) {}

  [[nodiscard]] unsigned frames_under_way() {
    return format_ == RingFormat::Split ? split_frames() : packed_frames();
  }

 private:
  // A place in a packed ring, and the number of the lap that comes by it.
  struct Place {
    unsigned index = 0;
    bool lap = true;
  };
  [[nodiscard]] unsigned split_frames() const;
  [[nodiscard]] unsigned packed_frames();
  [[nodiscard]] Place beyond(Place place, unsigned steps) const;

  std::byte* memory_;
  unsigned entries_;
  RingFormat format_;
  Place oldest_;  // of the frames that the device has not given back
};

}  // namespace vmnat::bench
