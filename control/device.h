// SPDX-License-Identifier: Apache-2.0
// Device: a DPDK port brought up from what the configuration names: a vhost-user socket, a PCI address, a
// kernel interface (through an AF_PACKET socket) or DPDK devargs.
//
// Failing to open one is answered with a sentence that says what to do.
#pragma once

#include <string>

#include "control/config/model.h"
#include "control/result.h"
#include "dataplane/net/address.h"
#include "dataplane/offload.h"

struct rte_mempool;

namespace vmnat::control {

enum class Promiscuous { No, Yes };

struct DeviceRequest {
  std::string name;        // for messages: "uplink", "port vm1"
  unsigned number = 0;     // makes DPDK's device name unique
  std::string vhost_user;  // socket path, or empty
  config::VhostMode mode = config::VhostMode::Client;
  std::string device;  // PCI address, interface or devargs, or empty
  std::uint16_t mtu = 1500;
  unsigned queues = 1;                // pairs
  bool fewer_queues_will_do = false;  // as many as the device has, at most `queues`
  Promiscuous promiscuous = Promiscuous::No;
};

class Device {
 public:
  // Opens, configures and starts.
  static Result<Device> open(const DeviceRequest& request, rte_mempool* pool);
  Device(Device&& other) noexcept;
  Device& operator=(Device&&) = delete;
  ~Device();  // stops and removes it; a vhost-user socket that it listens on goes with it

  [[nodiscard]] std::uint16_t port_id() const { return port_id_; }
  [[nodiscard]] net::MacAddr mac() const;
  [[nodiscard]] bool is_up() const;
  [[nodiscard]] std::uint16_t queues() const { return queues_; }  // pairs
  // Transmit queues that are open now: all, but of a vhost-user port those that the guest has enabled.
  std::uint16_t open_transmit_queues();
  // What it does for frames that it transmits; of a vhost-user port, what the guest has agreed to take.
  [[nodiscard]] dataplane::Offloads offloads() const;
  [[nodiscard]] int numa_node() const;                             // -1: not known, or none
  [[nodiscard]] const std::string& kind() const { return kind_; }  // "vhost-user", "kernel", "pci", "devargs"

 private:
  Device(std::uint16_t port_id, std::string kind) : port_id_(port_id), kind_(std::move(kind)) {}
  Result<void> start(const DeviceRequest& request, rte_mempool* pool);
  static constexpr std::uint16_t kNone = 0xffff;
  std::uint16_t port_id_ = kNone;
  std::string kind_;
  std::uint64_t transmit_offloads_ = 0;  // DPDK's bits, as configured
  bool is_vhost_ = false;
  std::uint16_t queues_ = 1;
  std::uint64_t enabled_ = 0;  // transmit queues of a vhost-user port, a bit each
};

}  // namespace vmnat::control
