// SPDX-License-Identifier: Apache-2.0
// Devices: those of all ports, and what the kernel says of its interfaces that some of them are.
#pragma once

#include <memory>
#include <vector>

#include "base/ids.h"
#include "control/devices/device.h"
#include "control/system/kernel_links.h"

namespace vmnat::control {

class Devices {
 public:
  // Opens one device more, as the next port's. The kernel's interfaces are looked at once one is asked for.
  Result<void> open(const DeviceRequest& request, std::span<rte_mempool* const> pools);
  // Takes in what the kernel has told of its interfaces meanwhile.
  void follow_kernel();

  [[nodiscard]] std::size_t size() const { return devices_.size(); }
  Device& operator[](std::size_t port) { return devices_[port]; }
  const Device& operator[](std::size_t port) const { return devices_[port]; }
  [[nodiscard]] auto begin() { return devices_.begin(); }
  [[nodiscard]] auto end() { return devices_.end(); }
  [[nodiscard]] auto begin() const { return devices_.begin(); }
  [[nodiscard]] auto end() const { return devices_.end(); }

 private:
  std::unique_ptr<KernelLinks> links_;  // devices refer to it; none without kernel interfaces
  std::vector<Device> devices_;         // by PortIndex
};

}  // namespace vmnat::control
