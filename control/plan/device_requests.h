// SPDX-License-Identifier: Apache-2.0
// Which devices are to be opened, one for each port, and with what.
#pragma once

#include <string>
#include <vector>

#include "control/config/model.h"
#include "control/plan/ports.h"

namespace vmnat::control {

enum class Promiscuous { No, Yes };

struct DeviceRequest {
  std::string name;        // for messages: "uplink", "port vm1"
  unsigned number = 0;     // makes DPDK's device name unique
  std::string vhost_user;  // socket path, or empty
  config::VhostMode mode = config::VhostMode::Client;
  std::string device;  // PCI address, interface or devargs, or empty
  config::KernelDriver driver = config::KernelDriver::Auto;
  std::uint16_t mtu = 1500;
  unsigned queues = 1;                // pairs
  bool fewer_queues_will_do = false;  // as many as the device has, at most `queues`
  Promiscuous promiscuous = Promiscuous::No;
  bool receives_replies = false;  // whose destination port says which worker's they are

  [[nodiscard]] bool is_kernel_interface() const {
    return vhost_user.empty() && config::device_kind(device) == config::DeviceKind::KernelInterface;
  }
};

// By PortIndex.
std::vector<DeviceRequest> plan_devices(const config::Config& config, const std::vector<PortPlan>& ports,
                                        unsigned worker_count);

}  // namespace vmnat::control
