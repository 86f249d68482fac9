// SPDX-License-Identifier: Apache-2.0
// The ports of the generator and their buffers: of one VM or several, of the uplink, and of a flooder if there is one.
//
// A port is normally a virtio-user device on a vhost-user socket of the device under test, i.e. what a VM's
// driver would be; a PCI address or any DPDK devargs serve as well. Each port has three pools: buffers to
// receive into, buffers that keep the load's frame template from one use to the next (see FramePool), and few
// for single frames.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "bench/generator/frame.h"
#include "bench/generator/options.h"
#include "bench/generator/transmit_ring.h"
#include "net/address.h"

struct rte_mbuf;
struct rte_mempool;

namespace vmnat::bench {

// Twice what the device under test usually takes at once: the generator's cost per frame is the lower.
inline constexpr std::uint16_t kBurst = 64;

// Brings EAL up with the devices; call once. Throws std::runtime_error with what to do when it cannot.
class Environment {
 public:
  explicit Environment(const Options& options);
  ~Environment();
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
};

class Port {
 public:
  // `transmit_offloads`: RTE_ETH_TX_OFFLOAD_*.
  Port(const std::string& device_name, unsigned queue_size, std::uint64_t transmit_offloads = 0);
  ~Port();
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  [[nodiscard]] std::uint16_t id() const { return id_; }
  [[nodiscard]] net::MacAddr mac() const { return mac_; }
  [[nodiscard]] bool is_up() const;
  [[nodiscard]] rte_mempool* load_pool() const { return load_pool_; }

  // Gives every buffer of the load pool this content and length. Only while no frame of the pool is under
  // way.
  void prepare_load_pool(const FrameTemplate& content);
  // Of a virtio port that has sent nothing yet: transmit() never has more than `most` frames under way in its ring.
  void limit_burst(unsigned most, const VirtioOptions& virtio);
  // Hands frames to the ring; the number that it took, the first ones, which are its own now.
  std::uint16_t transmit(rte_mbuf** frames, std::uint16_t count);
  // Sends one frame out of turn (ARP), whatever is under way; false when the ring is full.
  bool send(std::span<const std::byte> frame);

 private:
  std::uint16_t id_;
  net::MacAddr mac_;
  rte_mempool* receive_pool_ = nullptr;
  rte_mempool* load_pool_ = nullptr;
  rte_mempool* single_pool_ = nullptr;
  std::optional<TransmitRing> ring_;  // when its frames are limited
  unsigned most_under_way_ = 0;
};

// The ethdev names that Environment gave to the devices.
std::string vm_device_name(const Options& options, unsigned number);
std::string uplink_device_name(const Options& options);
std::string flooder_device_name(const Options& options);

// The bytes of a received frame (one segment).
std::span<const std::byte> bytes_of(const rte_mbuf* frame);

}  // namespace vmnat::bench
