// SPDX-License-Identifier: Apache-2.0
// GuestRings: a guest behind its two rings, at the guest's end: what it sends is laid into its memory in any
// pieces, what it gets is read out of its buffers again.
//
//   send(header, frame, {.first = 12, .others = 1000})     [12] -> [1000] -> [1000] -> [514]
//   receive()                                              header and frame, joined from their buffers
//
// With kPackedRing among its features both rings are packed ones.
//
// Wherever no frame lies its memory holds one and the same byte. Frames lie at the end of it, the first one
// at the very end, with gaps between all pieces: what is read beyond a piece is that byte, or the
// sanitizer's.
#pragma once

#include <memory>
#include <vector>

#include "dataplane/device/vhost_port.h"
#include "tests/support/packed_driver.h"
#include "tests/support/packet_builder.h"

namespace vmnat::fuzz {

class GuestRings {
 public:
  static constexpr std::size_t kLongest = 65'600;  // bytes of a frame: more than any packet has
  static constexpr unsigned kMostSent = 8;         // until has_all_back() is asked

  // Bytes of the first buffer, header included, and of each that follows; 0: all the rest.
  struct Layout {
    std::size_t first = 0, others = 0;
    bool is_indirect = false;
  };
  struct Received {
    dataplane::virtio::NetHeader header;
    test::Bytes frame;
  };

  GuestRings(std::uint64_t features, std::byte fill);
  dataplane::VhostPort& port() { return port_; }

  void send(const dataplane::virtio::NetHeader& header, const test::Bytes& frame, const Layout& layout);
  // False: a buffer that it has sent was not given back. Then its memory is as if it had sent nothing.
  bool has_all_back();
  // What has come since the last time. There is room for as much again.
  std::vector<Received> receive();

 private:
  static constexpr std::uint16_t kSize = 512;             // descriptors of a ring
  static constexpr std::size_t kGap = 16, kRoom = 2'060;  // a buffer for frames that come
  static constexpr std::size_t kSendBytes = kMostSent * (kLongest + 12 + 2 * kGap * (kSize + 1));
  static constexpr std::uint64_t kSendAddress = 0x10000, kReceiveAddress = 0x100000000;

  struct UsedRing {
    dataplane::virtio::RingStart start;
    dataplane::virtio::UsedElement elements[kSize];
  };
  // Each part by itself in memory, so that the sanitizer sees what goes beyond it. Chains of a packed ring are copied from
  // the descriptors, and have the number of their first one for an id.
  struct Ring {
    bool is_packed = false;
    std::vector<dataplane::virtio::Descriptor> descriptors{kSize};
    std::vector<std::uint16_t> available = std::vector<std::uint16_t>(2 + kSize + 1);
    std::unique_ptr<UsedRing> used = std::make_unique<UsedRing>();
    std::uint16_t seen = 0;  // of the used ring
    test::PackedDriver packed{kSize};
    std::unique_ptr<dataplane::virtio::EventSuppression> guest_event =
        std::make_unique<dataplane::virtio::EventSuppression>();
    std::unique_ptr<dataplane::virtio::EventSuppression> device_event =
        std::make_unique<dataplane::virtio::EventSuppression>();

    // A chain of so many descriptors from `head` on.
    void offer(std::uint16_t head, std::size_t count = 1);
    std::vector<dataplane::virtio::UsedElement> take_used();
    [[nodiscard]] bool has_all_back();
    dataplane::GuestQueue opened(std::uint64_t features, const dataplane::GuestMemory& memory);
  };

  std::uint64_t place(const std::byte* bytes, std::size_t size);
  std::vector<dataplane::virtio::Descriptor> pieces(const test::Bytes& all, const Layout& layout,
                                                    std::size_t most);
  test::Bytes table_of(const std::vector<dataplane::virtio::Descriptor>& chain) const;
  std::size_t buffers_of(const dataplane::virtio::UsedElement& first) const;
  void take_buffer(const dataplane::virtio::UsedElement& element, test::Bytes& bytes);

  std::byte fill_;
  std::size_t header_length_;
  bool is_mergeable_;
  std::vector<std::byte> sent_memory_, received_memory_;
  std::size_t free_ = kSendBytes;      // of sent_memory_, from its start on
  std::uint16_t next_descriptor_ = 0;  // of the ring of what it sends
  Ring send_ring_, receive_ring_;
  dataplane::VhostPort port_;
};

}  // namespace vmnat::fuzz
