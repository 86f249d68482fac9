// SPDX-License-Identifier: Apache-2.0
// Device: what the configuration names, brought up: a vhost-user socket, a kernel interface, one that is made for the
// host, or a DPDK port by PCI address or by devargs. net_vhost in devargs is a vhost-user socket, too, and a kernel
// interface may be DPDK's port (`driver: xdp`).
//
// A DPDK port that is to be a trunk is one Device, whole, and each VLAN of it another one, which shares it:
//
//   port lab0 {0000:3b:00.1, vlan: 10}   Device ---.
//                                                  +--> Device, whole: DPDK's port, and its Trunk
//   port lab1 {0000:3b:00.1, vlan: 11}   Device ---'
//
// Failing to open one is answered with a sentence that says what to do.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "control/devices/host_interface.h"
#include "control/devices/kernel_interface.h"
#include "control/devices/numa.h"
#include "control/devices/vhost_socket.h"
#include "control/devices/xdp_interface.h"
#include "control/plan/device_requests.h"
#include "control/result.h"
#include "control/system/kernel_links.h"
#include "dataplane/device/burst_port.h"
#include "dataplane/device/offload.h"
#include "dataplane/device/trunk.h"
#include "net/address.h"

struct rte_eth_dev_info;
struct rte_mempool;

namespace vmnat::control {

// A packet buffer's room for data: a whole frame of that MTU, with Ethernet header and VLAN tags, if it is not
// above 9 KB or so; longer frames are chains. A multiple of 1024.
unsigned buffer_bytes(std::uint16_t mtu);

class Device {
 public:
  // Opens, configures and starts. Receive queues take their buffers from the pools in turn.
  // `links` outlives it, and may be null for what is no kernel interface.
  static Result<Device> open(const DeviceRequest& request, std::span<rte_mempool* const> pools,
                             const KernelLinks* links = nullptr);
  // The same of a device that is a trunk: its VLANs are for others.
  static Result<Device> open_trunk(const DeviceRequest& request, std::span<rte_mempool* const> pools);
  // That of them that is asked for. Changes the whole where this one needs more.
  static Result<Device> join(std::shared_ptr<Device> whole, const DeviceRequest& request);
  Device(Device&& other) noexcept;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  Device& operator=(Device&&) = delete;
  ~Device();  // stops and removes it; a vhost-user socket that it listens on goes with it, and a trunk with its last VLAN

  [[nodiscard]] dataplane::BurstPort for_workers() {
    return {.port_id = port_id_,
            .vlan = vlan_,
            .vhost = vhost_ == nullptr ? nullptr : &vhost_->port(),
            .kernel = kernel_port(),
            .trunk = whole_ == nullptr ? nullptr : whole_->trunk_.get()};
  }
  // After the kernel has told of its interfaces.
  void follow_kernel() {
    if (interface_ != nullptr) interface_->follow();
    if (host_ != nullptr) host_->follow();
    if (xdp_ != nullptr) xdp_->follow();
  }
  [[nodiscard]] bool is_dpdk() const { return port_id_ != kNone; }
  [[nodiscard]] std::uint16_t port_id() const { return port_id_; }  // DPDK's
  [[nodiscard]] net::MacAddr mac() const;
  [[nodiscard]] bool is_up() const;
  [[nodiscard]] std::uint16_t queues() const { return queues_; }  // pairs
  // Entries of its RSS table, as it spoke of them before it was configured.
  [[nodiscard]] std::uint16_t rss_table_capacity() const { return rss_table_capacity_; }
  // Transmit queues that are open now: all, but of a vhost-user port those that the guest has enabled.
  [[nodiscard]] std::uint16_t open_transmit_queues() const;
  // What it does for frames that it transmits; of a vhost-user port, what the guest has agreed to take.
  [[nodiscard]] dataplane::Offloads offloads() const;
  // Changes when it has gone and come back, however fast.
  [[nodiscard]] std::uint32_t openings() const {
    if (host_ != nullptr) return host_->openings();
    return interface_ == nullptr ? 0 : interface_->openings();
  }
  // The largest IP packet that it bears now, where it is not ours to say.
  [[nodiscard]] std::uint16_t mtu() const;
  // nullptr of another kind.
  [[nodiscard]] VhostSocket* vhost() { return vhost_.get(); }
  [[nodiscard]] const VhostSocket* vhost() const { return vhost_.get(); }
  [[nodiscard]] KernelInterface* interface() { return interface_.get(); }
  [[nodiscard]] const KernelInterface* interface() const { return interface_.get(); }
  // On a trunk: frames that came faster than its worker took them.
  [[nodiscard]] std::uint64_t frames_missed() const {
    return whole_ == nullptr ? 0 : whole_->trunk_->frames_missed(vlan_);
  }
  [[nodiscard]] int numa_node() const { return numa_node_; }  // kNoNode: not known, or none
  [[nodiscard]] const std::string& kind() const {
    return kind_;
  }  // "vhost-user", "kernel", "xdp", "pci", "devargs", "host"

 private:
  Device(std::uint16_t port_id, std::string kind) : port_id_(port_id), kind_(std::move(kind)) {}
  Device(std::shared_ptr<Device> whole, std::uint16_t vlan);
  static Result<Device> open_kind(const DeviceRequest& request, std::span<rte_mempool* const> pools,
                                  const KernelLinks* links);
  static Result<Device> open_vhost(const DeviceRequest& request);
  static Result<Device> open_host(const DeviceRequest& request);
  static Result<Device> open_interface(const DeviceRequest& request, const KernelLinks& links);
  static Result<Device> open_xdp(const DeviceRequest& request, std::span<rte_mempool* const> pools,
                                 const KernelLinks& links);
  Result<void> start(const DeviceRequest& request, std::span<rte_mempool* const> pools);
  Result<void> choose_queues(const DeviceRequest& request, const rte_eth_dev_info& info);
  Result<void> configure(const DeviceRequest& request, const rte_eth_dev_info& info);
  Result<void> set_up_queues(const DeviceRequest& request, std::span<rte_mempool* const> pools);
  Result<void> set_mtu(std::uint16_t mtu, const DeviceRequest& request);
  Result<void> receive_for_others(const DeviceRequest& request);
  void leave_trunk();
  void close_port();
  [[nodiscard]] dataplane::KernelPort* kernel_port() {
    if (host_ != nullptr) return &host_->port();
    return interface_ == nullptr ? nullptr : &interface_->port();
  }
  static constexpr std::uint16_t kNone = 0xffff;
  std::uint16_t port_id_ = kNone;
  std::string kind_;
  std::uint64_t transmit_offloads_ = 0;      // DPDK's bits, as configured
  std::uint16_t most_buffers_ = UINT16_MAX;  // of a frame that it transmits
  std::uint16_t queues_ = 1;
  std::uint16_t vlan_ = dataplane::kNoVlan;
  std::uint16_t rss_table_capacity_ = 0;
  int numa_node_ = kNoNode;
  std::unique_ptr<VhostSocket> vhost_;          // instead of a DPDK port
  std::unique_ptr<KernelInterface> interface_;  // likewise
  std::unique_ptr<HostInterface> host_;         // likewise
  std::unique_ptr<XdpInterface> xdp_;           // what the DPDK port drives
  net::MacAddr vhost_mac_{};
  std::unique_ptr<dataplane::Trunk> trunk_;  // of one that is whole: what its VLANs receive by
  std::shared_ptr<Device> whole_;            // of a VLAN
};

}  // namespace vmnat::control
