// SPDX-License-Identifier: Apache-2.0
// KernelInterface: a network interface of the kernel as a device, and the port behind it. It is driven by packet
// sockets of our own; a TAP that nobody is attached to, by being its other end, so that we talk to the host that
// has the interface.
//
// The interface stays the administrator's: its MTU, its addresses and its offloads are left as they are found.
// One that is down is brought up, and put down again in the end unless it is more than one port. It may go and come back, under its name: the
// sockets are then opened anew.
//
// Several queues are one fanout group (PACKET_FANOUT): the kernel spreads frames over them. With one queue there
// is none.
// What is to be driven by AF_XDP is an XdpInterface.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "control/devices/packet_queue.h"
#include "control/result.h"
#include "control/system/kernel_links.h"
#include "dataplane/device/kernel_port.h"
#include "dataplane/device/offload.h"

namespace vmnat::control {

class KernelInterface {
 public:
  struct Settings {
    std::string name;       // for messages: "uplink", "port vm1"
    std::string interface;  // the kernel's name of it
    unsigned queues = 1;
    std::uint16_t vlan = dataplane::kNoVlan;  // frames of it alone; kNoVlan: all
    bool is_promiscuous = false;
    PacketQueue::Spread spread = PacketQueue::Spread::Flows;  // of what arrives, over several queues
  };
  // The interface must be there. `links` outlives it.
  static Result<std::unique_ptr<KernelInterface>> open(Settings settings, const KernelLinks& links);
  ~KernelInterface();
  KernelInterface(const KernelInterface&) = delete;
  KernelInterface& operator=(const KernelInterface&) = delete;

  // After `links` has followed the kernel: opens and closes as the interface comes and goes.
  void follow();

  [[nodiscard]] dataplane::KernelPort& port() { return port_; }
  // Its own, that it was opened with; at the other end of a TAP, which has its host's, one of ours.
  [[nodiscard]] net::MacAddr mac() const { return mac_; }
  // Bytes that may wait for their turn in each of its sockets, on top of what their rings hold.
  void let_wait(std::uint64_t bytes);
  // Replies come to the queue of their block of ports: block modulo the number of queues.
  [[nodiscard]] bool spreads_by_port() const {
    return settings_.spread == PacketQueue::Spread::DestinationPorts && sockets_.size() > 1;
  }
  // How many times it was opened: it may have gone and come back between two looks.
  [[nodiscard]] std::uint32_t openings() const { return port_.openings(); }
  [[nodiscard]] bool is_up() const;
  [[nodiscard]] std::uint16_t mtu() const;  // the interface's, while it is there
  [[nodiscard]] dataplane::Offloads offloads() const;
  // Frames that were lost because a ring or a socket's queue was full. The kernel forgets what it has told.
  [[nodiscard]] std::uint64_t frames_missed();

 private:
  KernelInterface(Settings settings, const KernelLinks& links);
  Result<void> open_queues(const KernelLink& link);
  Result<void> open_sockets(const KernelLink& link);
  Result<bool> attach(const KernelLink& link);  // false: it is no TAP, or another one's
  void close_queues();
  [[nodiscard]] bool are_queues_alive() const;

  Settings settings_;
  const KernelLinks& links_;
  net::MacAddr mac_{};
  bool was_down_ = false;  // before us
  int index_ = 0;          // the kernel's, that the sockets are bound to; 0: none
  KernelLink link_;        // as it was told of last; index 0: it is gone
  std::vector<PacketQueue> sockets_;
  std::vector<FileDescriptor> tap_queues_;             // instead of sockets
  std::uint64_t waiting_ = PacketQueue::kMostWaiting;  // as it was told
  // Frames missed by sockets that are closed, or counted before.
  std::uint64_t frames_missed_ = 0;
  dataplane::KernelPort port_;
};

}  // namespace vmnat::control
