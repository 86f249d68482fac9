// SPDX-License-Identifier: Apache-2.0
// VhostSocket: a vhost-user socket, registered with librte_vhost, and the port behind it.
//
// librte_vhost has one thread for the messages of all sockets; it tells here when guests come, go, and enable
// rings, which becomes the state of the dataplane::VhostPort that workers poll.
//
// A port serves one connection: others are refused, whoever they are (a second VMM, a port scan, a vmnatd
// that looks whether the socket is free), and nothing that happens on them touches the port. A connection
// whose peer has gone gives way at once, though its end has not been read yet: a VMM that is started anew
// does not try twice.
//
//   QEMU 1 connects   new_connection(0)   served
//   socat connects    new_connection(1)   refused: closed
//   QEMU 1 is killed
//   QEMU 2 connects   new_connection(1)   served: the peer of 0 has hung up
//                     destroy_connection(0)   not the port's any more
//
// Where a ring is, its VMM says (SET_VRING_BASE), and asks for when the ring stops. If vmnatd was killed meanwhile, QEMU
// reads it from a split ring's memory; of a packed ring it says again what it has said before, and the place is looked
// for in the ring (packed_recovery.h).
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "control/config/model.h"
#include "control/devices/guest_faults.h"
#include "control/devices/vhost_messages.h"
#include "control/devices/vhost_reconnect.h"
#include "control/result.h"
#include "dataplane/device/vhost_port.h"

namespace vmnat::control {

class VhostSocket {
 public:
  struct Settings {
    std::string name;  // for messages
    std::string path;
    config::VhostMode mode = config::VhostMode::Server;
    unsigned queues = 1;  // pairs that workers poll; a VMM is told of no more
    // Features that are not offered (vhost_features.h).
    std::uint64_t withheld = dataplane::virtio::kNeverOffered;
  };
  // In server mode the path must be free; in client mode librte_vhost connects, and connects again, whenever
  // somebody listens (vhost_reconnect.h).
  static Result<std::unique_ptr<VhostSocket>> open(Settings settings);
  VhostSocket(const VhostSocket&) = delete;
  VhostSocket& operator=(const VhostSocket&) = delete;
  ~VhostSocket();  // the guest is sent off; a socket that this listens on is removed

  // How far a VMM has come here. NoMemory: its guest's driver has agreed to features, and no memory was shown since.
  enum class Attachment : std::uint8_t { Nobody, Connected, NoMemory, Attached };
  [[nodiscard]] Attachment attachment() const {
    return port_.has_guest() ? Attachment::Attached : attachment_.load(std::memory_order_relaxed);
  }

  dataplane::VhostPort& port() { return port_; }
  [[nodiscard]] const dataplane::VhostPort& port() const { return port_; }
  // Control's thread: has the socket come up, ours or the VMM's, that nobody is served by yet?
  [[nodiscard]] bool has_socket_come(SteadyTime now, DirectoryWatch& directories);
  // Connections that found the port served, and messages that made no sense or could do harm.
  [[nodiscard]] std::uint64_t refused_connections() const { return refused_connections_.get(); }
  [[nodiscard]] std::uint64_t refused_messages() const { return refused_messages_.get(); }

  // librte_vhost's callbacks, with its number of the guest.
  [[nodiscard]] bool serves(int guest) const { return guest_.load(std::memory_order_acquire) == guest; }
  bool take_connection(int guest);
  void end_connection();
  rte_vhost_msg_result before(VhostMessage& message);
  void after(const VhostMessage& message);
  bool attach_guest();
  void detach_guest();
  void change_ring(std::uint16_t ring, bool is_enabled);

 private:
  static constexpr int kNobody = -1;

  explicit VhostSocket(Settings settings) : settings_(std::move(settings)), file_(settings_.path) {}
  [[nodiscard]] int find_connection() const;
  rte_vhost_msg_result refuse(VhostMessage& message, std::string_view why);
  rte_vhost_msg_result answer(VhostMessage& message);
  void withdraw();
  void announce(const VhostMessage& message);
  void hand_over();
  void find_packed_place(std::uint16_t ring);
  void forget_packed_place(std::uint16_t ring);
  void take_back();
  void watch_memory();
  [[nodiscard]] dataplane::GuestQueue queue_of(std::uint16_t ring, std::uint64_t features);
  bool may_log();
  void tell_fault(SteadyTime now);

  Settings settings_;
  SocketFile file_;
  bool is_known_to_listen_ = false;  // in server mode, where the file stays
  SteadyTime next_fault_line_{};     // about the file, in the log
  bool is_registered_ = false;
  dataplane::VhostPort port_;
  Counter refused_connections_, refused_messages_;

  // Of the connection that is served.
  std::atomic<int> guest_{kNobody};
  std::atomic<Attachment> attachment_{Attachment::Nobody};  // as far as it is not attached
  int connection_ = -1;                                     // a descriptor of our own for it
  std::optional<VhostConversation> conversation_;
  WatchedMemory memory_;
  std::chrono::steady_clock::time_point next_line_{};  // about what was refused, in the log
};

}  // namespace vmnat::control
