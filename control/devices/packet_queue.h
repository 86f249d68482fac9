// SPDX-License-Identifier: Apache-2.0
// PacketQueue: a packet socket with its receive ring (packet(7)), as dataplane/device/packet_socket.h takes it.
#pragma once

#include <cstddef>
#include <optional>

#include "control/result.h"
#include "control/system/file_descriptor.h"
#include "dataplane/device/vlan.h"

namespace vmnat::control {

class PacketQueue {
 public:
  static constexpr unsigned kSlots = 1024;                 // 2 MB of the kernel's memory
  static constexpr std::uint64_t kMostWaiting = 32 << 20;  // bytes

  // Bound to the interface of this index, and receiving: all, or one VLAN unless that is kNoVlan. The error says what
  // failed, and why. `waiting` is as of let_wait().
  static Result<PacketQueue> open(int interface_index, std::uint16_t vlan, std::uint64_t waiting);
  PacketQueue(const PacketQueue&) = delete;
  PacketQueue& operator=(const PacketQueue&) = delete;
  PacketQueue(PacketQueue&& other) noexcept;
  PacketQueue& operator=(PacketQueue&&) = delete;
  ~PacketQueue();

  // 0, or the number of the error.
  [[nodiscard]] int receive_for_others(int interface_index) const;
  // Into a group of sockets that the kernel spreads frames over: a new one, or that of this number.
  enum class Spread : std::uint8_t {
    Flows,             // by a hash that both directions share; fragments by their addresses
    DestinationPorts,  // blocks of 64 ports of TCP and UDP in turn; what has none comes to the first socket
  };
  [[nodiscard]] Result<int> join(std::optional<int> group, Spread spread) const;

  // False once the interface that it was bound to has gone, also when another one has its index now.
  [[nodiscard]] bool is_bound() const;
  // Bytes of super-frames, and of what else is longer than a slot, that may wait in the socket beside its ring; what
  // comes then is lost, and missed.
  void let_wait(std::uint64_t bytes) const;
  [[nodiscard]] int descriptor() const { return socket_.number(); }
  [[nodiscard]] std::byte* ring() const { return ring_; }
  // Frames that the ring had no room for, since the last time it was asked.
  [[nodiscard]] unsigned take_missed() const;

 private:
  explicit PacketQueue(FileDescriptor socket) : socket_(std::move(socket)) {}
  Result<void> make_ring();
  FileDescriptor socket_;
  std::byte* ring_ = nullptr;
};

}  // namespace vmnat::control
