// SPDX-License-Identifier: Apache-2.0
// What stands in a guest's memory by virtio 1.1: split virtqueues (2.6), packed ones (2.7), and the header of frames
// (5.1.6).
//
// All numbers are little-endian, like this CPU. A guest may write at any time to what is its own: what is
// read is read once, and checked after that.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace vmnat::dataplane::virtio {

static_assert(std::endian::native == std::endian::little);

struct Descriptor {
  static constexpr std::uint16_t kNext = 1, kIndirect = 4;  // flags
  std::uint64_t address = 0;                                // the guest's
  std::uint32_t length = 0;
  std::uint16_t flags = 0;
  std::uint16_t next = 0;
};
static_assert(sizeof(Descriptor) == 16);

// Both rings start so. In the available ring heads of chains follow, in the used ring elements; after those
// of the available ring, with kEventIndex, the index of the used ring at which the guest wants to be called.
struct RingStart {
  static constexpr std::uint16_t kNoInterrupt = 1;  // flags of the available ring
  static constexpr std::uint16_t kNoKick = 1;       // flags of the used ring
  std::uint16_t flags = 0;
  std::uint16_t index = 0;
};
struct UsedElement {
  std::uint32_t head = 0;
  std::uint32_t length = 0;  // bytes written to the chain
};

// Of a packed ring (2.7.13), which both sides write: the guest to make a chain available, the device, into the first
// descriptor of the chain, to give it back. Each side has a bit, which it sets to the number of its lap, 1, 0, 1, ...
struct PackedDescriptor {
  static constexpr std::uint16_t kWritten = 2, kAvailable = 1 << 7,
                                 kUsed = 1 << 15;  // flags, beside Descriptor's
  struct alignas(8) State {                        // read and written as a whole
    std::uint32_t length = 0;
    std::uint16_t id = 0;  // of the chain, in its last descriptor
    std::uint16_t flags = 0;
  };
  std::uint64_t address = 0;  // the guest's
  State state;
};
static_assert(sizeof(PackedDescriptor) == 16);

// Of a packed ring (2.7.10), each side's: when it wants to hear of the other. A place in the ring has the lap in its
// highest bit; here and in vhost-user.
struct EventSuppression {
  static constexpr std::uint16_t kEnable = 0, kDisable = 1, kAtPlace = 2;  // flags
  static constexpr std::uint16_t kLap = 1 << 15;
  std::uint16_t place = 0;  // with kAtPlace
  std::uint16_t flags = 0;
};
static_assert(sizeof(EventSuppression) == 4);

// Before each frame, in its guest's memory. Without mergeable buffers and before virtio 1.0 it ends with
// checksum_offset.
struct NetHeader {
  static constexpr std::uint8_t kNeedsChecksum = 1;  // flags
  // Of segmentation. kUdp leaves IP fragments, kUdpSegments datagrams (virtio 1.2, 5.1.6.2).
  static constexpr std::uint8_t kTcp4 = 1, kUdp = 3, kTcp6 = 4, kUdpSegments = 5, kEcn = 0x80;
  std::uint8_t flags = 0;
  std::uint8_t segmentation = 0;
  std::uint16_t headers_length = 0;
  std::uint16_t segment_size = 0;
  std::uint16_t checksum_start = 0;
  std::uint16_t checksum_offset = 0;  // from checksum_start
  std::uint16_t buffers = 0;          // that a received frame fills
};
static_assert(sizeof(NetHeader) == 12);
inline constexpr std::size_t kShortNetHeader = 10;

// Feature bits.
inline constexpr std::uint64_t kGuestChecksums = 1ull << 1;  // the guest takes partial checksums,
inline constexpr std::uint64_t kGuestTso4 = 1ull << 7;       // and TCP super-frames
inline constexpr std::uint64_t kGuestTso6 = 1ull << 8;
inline constexpr std::uint64_t kGuestUfo = 1ull << 10;  // the guest takes datagrams to be fragmented, or
inline constexpr std::uint64_t kHostUfo = 1ull << 14;   // sends them
inline constexpr std::uint64_t kNeverOffered = kGuestUfo | kHostUfo;
inline constexpr std::uint64_t kMergeableBuffers = 1ull << 15;
inline constexpr std::uint64_t kLogAll = 1ull << 26;  // vhost: what is written is to be logged, for migration
inline constexpr std::uint64_t kEventIndex = 1ull << 29;
inline constexpr std::uint64_t kVersion1 = 1ull << 32;
inline constexpr std::uint64_t kIommuPlatform = 1ull << 33;
inline constexpr std::uint64_t kPackedRing = 1ull << 34;

// Numbers that the other side writes meanwhile.
template <typename T>
T load(const T& at, std::memory_order order = std::memory_order_relaxed) {
  return std::atomic_ref<T>(const_cast<T&>(at)).load(order);
}
template <typename T>
void store(T& at, T value, std::memory_order order = std::memory_order_relaxed) {
  std::atomic_ref<T>(at).store(value, order);
}

}  // namespace vmnat::dataplane::virtio
