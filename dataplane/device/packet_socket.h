// SPDX-License-Identifier: Apache-2.0
// PacketSocket: one queue of a kernel interface, by a packet socket (packet(7)) that speaks virtio's header
// (PACKET_VNET_HDR): partial checksums and super-frames cross in both directions as they are.
//
//   receive ring (PACKET_RX_RING), shared with the kernel        the socket's own queue
//     | USER, frame | USER, frame | USER | COPY, start | KERNEL |     | super-frame |
//       next_                                |                              ^
//                                            '------------------------------'
//
// The kernel copies each frame into the next slot: nothing that waits costs no system call, and neither does a
// frame that fits its slot, which is copied out. Of a longer one the slot holds the start alone, and the socket
// the whole (PACKET_COPY_THRESH): it is read into buffers of its own, copied once. A slot is the kernel's again
// when its frame has been taken. Full, the ring or the socket's queue, frames are lost; the kernel counts those
// of the ring, and frames_cut() the others.
//
// Frames leave by sendmmsg(2), a burst in one call, copied once by the kernel.
//
// Threads: one worker; control, which sets it up, while no worker is at it (kernel_port.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <rte_mbuf.h>

#include "base/counter.h"
#include "dataplane/device/transmission.h"

namespace vmnat::dataplane {

class PacketSocket {
 public:
  static constexpr unsigned kMostFrames = Transmission::kMostFrames;  // of a burst
  static constexpr std::size_t kSlotBytes = 2048;  // a frame of an MTU of 1500 and what the kernel says of it

  PacketSocket();
  ~PacketSocket();
  PacketSocket(const PacketSocket&) = delete;
  PacketSocket& operator=(const PacketSocket&) = delete;

  // `ring` is the socket's, of version TPACKET_V2 and slots of kSlotBytes; `slots` is a power of two. Both stay
  // the caller's, and there until it is opened with others or closed.
  void open(int socket, std::byte* ring, unsigned slots);
  void close();
  [[nodiscard]] bool is_open() const { return ring_ != nullptr; }
  [[nodiscard]] int descriptor() const { return socket_; }  // readable when frames have arrived
  [[nodiscard]] bool has_waiting() const;                   // they have

  // At most `most` frames that have arrived, in buffers of the pool. Without buffers they stay where they are.
  std::uint16_t take(rte_mempool* pool, rte_mbuf** frames, std::uint16_t most);
  // The frames that the interface has room for, of kMostFrames at most. They stay the caller's.
  Transmission put(rte_mbuf* const* frames, std::uint16_t count);

  // Frames of which the start alone had arrived, because the socket's queue was full. Any thread.
  [[nodiscard]] std::uint64_t frames_cut() const { return frames_cut_.get(); }

 private:
  enum class Taken : std::uint8_t { Frame, Nothing, NoBuffer };
  class Slot;
  struct Sending;

  [[nodiscard]] Slot slot(unsigned number) const;
  Taken take_slot(Slot slot, rte_mempool* pool, rte_mbuf* frame);
  [[gnu::cold]] Taken read_long(Slot slot, rte_mempool* pool, rte_mbuf* frame);
  bool send(unsigned begin, unsigned end, Transmission& result) const;

  int socket_ = -1;
  std::byte* ring_ = nullptr;
  unsigned mask_ = 0;
  unsigned next_ = 0;
  Counter frames_cut_;
  std::unique_ptr<Sending> sending_;
};

}  // namespace vmnat::dataplane
