// SPDX-License-Identifier: Apache-2.0
#include "control/devices/devices.h"

namespace vmnat::control {

void DeviceCounts::add(Device& device) {
  if (device.interface() != nullptr) frames_missed += device.interface()->frames_missed();
  const VhostSocket* const socket = device.vhost();
  if (socket == nullptr) return;
  rings_deferred += socket->port().deferrals();
  refused_connections += socket->refused_connections();
  refused_messages += socket->refused_messages();
}

Result<std::unique_ptr<Device>> Devices::open(const DeviceRequest& request,
                                              std::span<rte_mempool* const> pools) {
  if (links_ == nullptr && request.is_kernel_interface()) {
    auto links = KernelLinks::open();
    if (!links) return tl::unexpected(links.error());
    links_ = std::make_unique<KernelLinks>(std::move(*links));
  }
  auto device = Device::open(request, pools, links_.get());
  if (!device) return tl::unexpected(device.error());
  return std::make_unique<Device>(std::move(*device));
}

void Devices::put(PortIndex port, std::unique_ptr<Device> device) {
  if (port >= devices_.size()) devices_.resize(port + 1u);
  devices_[port] = std::move(device);
}

void Devices::close(PortIndex port) {
  if (find(port) == nullptr) return;
  closed_.add(*devices_[port]);
  devices_[port].reset();
}

void Devices::follow_kernel() {
  if (links_ == nullptr || !links_->follow()) return;
  for (const auto& device : devices_)
    if (device != nullptr) device->follow_kernel();
}

DeviceCounts Devices::counts() {
  DeviceCounts counts = closed_;
  for (const auto& device : devices_)
    if (device != nullptr) counts.add(*device);
  return counts;
}

void Devices::connect_at_once(SteadyTime now) {
  if (now < next_look_) return;
  next_look_ = now + kLookForSockets;
  socket_directories_.follow(now);
  bool has_one_come = false;
  for (const auto& device : devices_)
    has_one_come |= device != nullptr && device->vhost() != nullptr &&
                    device->vhost()->has_socket_come(now, socket_directories_);
  if (has_one_come) vhost_threads_.wake();
}

}  // namespace vmnat::control
