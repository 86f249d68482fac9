// SPDX-License-Identifier: Apache-2.0
// Devices: those of all ports, and what the kernel says of its interfaces that some of them are.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "control/devices/device.h"
#include "control/devices/vhost_reconnect.h"
#include "control/system/kernel_links.h"

namespace vmnat::control {

// Of all devices that there are and were.
struct DeviceCounts {
  std::uint64_t rings_deferred = 0, refused_connections = 0, refused_messages = 0, frames_missed = 0,
                trunk_missed = 0;
  void add(Device& device);
};

class Devices {
 public:
  // Opens one device more, for a port, or a VLAN of one that is a trunk: that is opened with its first VLAN, and closed
  // with the last one. The kernel's interfaces are looked at once one is asked for.
  Result<std::unique_ptr<Device>> open(const DeviceRequest& request, std::span<rte_mempool* const> pools);
  // The port has it from now on.
  void put(PortIndex port, std::unique_ptr<Device> device);
  // No worker uses the port's any more: stops and removes it.
  void close(PortIndex port);
  // Takes in what the kernel has told of its interfaces meanwhile.
  void follow_kernel();
  // Has connections made where a vhost-user socket has come up, ours or a VMM's.
  void connect_at_once(SteadyTime now);

  // nullptr: the port has none.
  [[nodiscard]] Device* find(std::size_t port) {
    return port < devices_.size() ? devices_[port].get() : nullptr;
  }
  [[nodiscard]] const Device* find(std::size_t port) const {
    return port < devices_.size() ? devices_[port].get() : nullptr;
  }
  // Of a port that has one.
  Device& operator[](std::size_t port) { return *devices_[port]; }
  const Device& operator[](std::size_t port) const { return *devices_[port]; }
  [[nodiscard]] DeviceCounts counts();

 private:
  struct OpenTrunk {
    std::string arguments;  // of the devargs that it was opened with
    std::weak_ptr<Device> whole;
  };
  Result<Device> open_alone(const DeviceRequest& request, std::span<rte_mempool* const> pools);
  Result<Device> open_vlan(const DeviceRequest& request, std::span<rte_mempool* const> pools);
  [[nodiscard]] Result<void> check_is_free(const DeviceRequest& request) const;

  std::unique_ptr<KernelLinks> links_;            // devices refer to it; none without kernel interfaces
  std::vector<std::unique_ptr<Device>> devices_;  // by PortIndex
  std::map<std::string, OpenTrunk> trunks_;       // by DPDK's name
  DeviceCounts closed_;
  VhostThreads vhost_threads_;
  DirectoryWatch socket_directories_;
  SteadyTime next_look_{};  // for listeners
};

}  // namespace vmnat::control
