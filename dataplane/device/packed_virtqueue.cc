// SPDX-License-Identifier: Apache-2.0
#include "dataplane/device/packed_virtqueue.h"

#include "dataplane/device/virtqueue_driver.h"

namespace vmnat::dataplane {

void PackedRing::give_back_frames(const Head* first, const Head* end) {
  while (first != end) {
    const Head* const next = std::find_if(first + 1, end, [](const Head& used) { return used.starts_frame; });
    give_back_frame(first, next);
    first = next;
  }
}

// Not one after another from the first on: when the guest sees the first chain of a frame, all of it must be there.
void PackedRing::give_back_frame(const Head* first, const Head* end) {
  for (const Head* used = end; used-- != first;) {
    mark_followers(*used, true);
    give_back(*used);
  }
}

// The descriptors of a chain behind its first one, which only the device may touch until it gives that back. The last
// one first: what is not marked yet is the start of the chain.
void PackedRing::mark_followers(const Head& head, bool is_given) {
  for (unsigned i = head.count - 1u; i > 0; --i) {
    unsigned index = head.index + i;
    bool lap = head.lap();
    if (index >= size_) {
      index -= size_;
      lap = !lap;
    }
    State state = virtio::load(descriptors_[index].state);
    const int others = state.flags & ~virtio::PackedDescriptor::kUsed;
    state.flags =
        static_cast<std::uint16_t>(others | (lap == is_given ? virtio::PackedDescriptor::kUsed : 0));
    virtio::store(descriptors_[index].state, state);
  }
}

// A chain has as many descriptors as their flags say; a longer one than is allowed ends there, and what follows it in
// the ring is the next one.
bool PackedRing::measure(Head& head) {
  const unsigned most = std::min<unsigned>(size_, VirtqueueBudget::kLongestChain);
  unsigned index = head.index;
  for (std::uint16_t flags = virtio::Descriptor::kNext;
       (flags & virtio::Descriptor::kNext) != 0 && head.count < most; ++head.count) {
    if (left_to_measure_ == 0) return false;
    --left_to_measure_;
    index = index + 1u == size_ ? 0 : index + 1u;
    const State state = virtio::load(descriptors_[index].state);
    flags = state.flags;
    head.set_id(state.id);
  }
  return true;
}

template class Virtqueue<PackedRing>;

}  // namespace vmnat::dataplane
