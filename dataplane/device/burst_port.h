// SPDX-License-Identifier: Apache-2.0
// BurstPort: a port as workers see it. They receive and transmit bursts there: by a guest's rings, by a kernel
// interface's packet sockets, or by DPDK, of whose device it may be one VLAN among several.
#pragma once

#include <cstdint>
#include <rte_ethdev.h>

#include "dataplane/device/kernel_port.h"
#include "dataplane/device/trunk.h"
#include "dataplane/device/vhost_port.h"
#include "dataplane/device/vlan.h"

namespace vmnat::dataplane {

struct BurstPort {
  std::uint16_t port_id = 0;  // DPDK's, unless one of the next two is there; all of them outlive the workers
  std::uint16_t vlan = kNoVlan;  // of the device, that the port is (vlan.h); kNoVlan: it is all of it
  VhostPort* vhost = nullptr;    // by a guest's rings
  KernelPort* kernel = nullptr;  // by packet sockets
  Trunk* trunk = nullptr;        // what DPDK's port receives is sorted there, by VLAN

  bool operator==(const BurstPort&) const = default;
  [[nodiscard]] bool is_dpdk() const { return vhost == nullptr && kernel == nullptr; }
  // Drivers of DPDK may find nothing when they are asked for fewer frames than they look at together.
  [[nodiscard]] bool gives_whole_bursts() const { return is_dpdk() && trunk == nullptr; }
  // At most `most` frames of a receive queue. DPDK ports have a pool of their own for it.
  std::uint16_t receive(std::uint16_t queue, rte_mempool* pool, rte_mbuf** frames, std::uint16_t most) const {
    if (vhost != nullptr) return vhost->receive(queue, pool, frames, most);
    if (kernel != nullptr) return kernel->receive(queue, pool, frames, most);
    return trunk == nullptr ? rte_eth_rx_burst(port_id, queue, frames, most)
                            : trunk->receive(vlan, frames, most);
  }
  // How many frames, from the first on, the device would take as they are; it stops at one that it would
  // not. For frames that leave something to it. Pseudo-header sums are made the device's own kind.
  std::uint16_t prepare(std::uint16_t queue, rte_mbuf** frames, std::uint16_t count) const {
    return is_dpdk() ? rte_eth_tx_prepare(port_id, queue, frames, count) : count;
  }
  // Which frames, of Transmission::kMostFrames at most, the device has taken over.
  Transmission transmit(std::uint16_t queue, rte_mbuf** frames, std::uint16_t count) const {
    if (vhost != nullptr) return vhost->transmit(queue, frames, count);
    if (kernel != nullptr) return kernel->transmit(queue, frames, count);
    return {.sent = FrameSet::first(rte_eth_tx_burst(port_id, queue, frames, count))};
  }
  // Before the worker of a receive queue sleeps: how it will hear of the next frame, from now on until
  // stop_waking(). `known`: the generation of the descriptor that it has; 0 without.
  [[nodiscard]] [[gnu::cold]] WakeSource ask_to_wake(std::uint16_t queue, std::uint32_t known) const {
    if (vhost != nullptr) return vhost->ask_to_wake(queue, known);
    if (kernel != nullptr) return kernel->ask_to_wake(queue, known);
    return {.kind = WakeSource::Kind::None};
  }
  [[gnu::cold]] void stop_waking(std::uint16_t queue) const {
    if (vhost != nullptr) vhost->stop_waking(queue);
  }
  // Frames are there that receive() has not taken, such as for want of buffers: nothing will tell of them again.
  [[nodiscard]] [[gnu::cold]] bool has_waiting(std::uint16_t queue) const {
    if (vhost != nullptr) return vhost->has_waiting(queue);
    return kernel != nullptr && kernel->has_waiting(queue);
  }
};

}  // namespace vmnat::dataplane
