// SPDX-License-Identifier: Apache-2.0
#include "control/plan/device_requests.h"

namespace vmnat::control {
namespace {

DeviceRequest request_of(const config::VmPort& port, std::uint16_t mtu) {
  return {.name = "port " + port.name,
          .vhost_user = port.vhost_user,
          .mode = port.mode,
          .device = port.device.name,
          .driver = port.device.driver,
          .mtu = mtu,
          .queues = port.queues,
          .promiscuous = Promiscuous::Yes};  // the gateway's MAC is not the device's
}

DeviceRequest request_of(const config::Uplink& uplink, unsigned worker_count) {
  return {.name = "uplink",
          .device = uplink.device.name,
          .driver = uplink.device.driver,
          .mtu = uplink.mtu,
          .queues = uplink.queues.value_or(worker_count),
          .fewer_queues_will_do = !uplink.queues,
          .promiscuous = uplink.mac ? Promiscuous::Yes : Promiscuous::No,
          .receives_replies = true};
}

}  // namespace

std::vector<DeviceRequest> plan_devices(const config::Config& config, const std::vector<PortPlan>& ports,
                                        unsigned worker_count) {
  std::vector<DeviceRequest> requests;
  for (const PortPlan& port : ports) {
    requests.push_back(port.config == nullptr ? request_of(config.uplink, worker_count)
                                              : request_of(*port.config, config.networks[port.network].mtu));
    requests.back().number = static_cast<unsigned>(requests.size() - 1);
  }
  return requests;
}

}  // namespace vmnat::control
