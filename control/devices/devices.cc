// SPDX-License-Identifier: Apache-2.0
#include "control/devices/devices.h"

#include <algorithm>
#include <rte_ethdev.h>

namespace vmnat::control {

void DeviceCounts::add(Device& device) {
  if (device.interface() != nullptr) frames_missed += device.interface()->frames_missed();
  trunk_missed += device.frames_missed();
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
  auto device = request.trunk().empty() ? open_alone(request, pools) : open_vlan(request, pools);
  if (!device) return tl::unexpected(device.error());
  return std::make_unique<Device>(std::move(*device));
}

Result<Device> Devices::open_alone(const DeviceRequest& request, std::span<rte_mempool* const> pools) {
  if (auto free = check_is_free(request); !free) return tl::unexpected(free.error());
  return Device::open(request, pools, links_.get());
}

Result<Device> Devices::open_vlan(const DeviceRequest& request, std::span<rte_mempool* const> pools) {
  OpenTrunk& trunk = trunks_[request.trunk()];
  const std::string arguments{config::device_arguments(request.device)};
  std::shared_ptr<Device> whole = trunk.whole.lock();
  if (whole != nullptr && trunk.arguments != arguments)
    return tl::unexpected(
        Error{request.name,
              request.trunk() + " is still open with other arguments: take away its other ports first"});
  if (whole == nullptr) {
    if (auto free = check_is_free(request); !free) return tl::unexpected(free.error());
    auto opened = Device::open_trunk(request, pools);
    if (!opened) return opened;
    whole = std::make_shared<Device>(std::move(*opened));
    trunk = {arguments, whole};
  }
  return Device::join(std::move(whole), request);
}

// DPDK would set up anew what another port has open, under its worker.
Result<void> Devices::check_is_free(const DeviceRequest& request) const {
  const std::string name = config::shareable_name(request.device);
  std::uint16_t port_id = 0;
  if (name.empty() || rte_eth_dev_get_port_by_name(name.c_str(), &port_id) != 0) return {};
  const bool is_open = std::ranges::any_of(devices_, [&](const auto& device) {
    return device != nullptr && device->is_dpdk() && device->port_id() == port_id;
  });
  if (!is_open) return {};
  return tl::unexpected(
      Error{request.name,
            name + " is open for another port alone, and is shared after a restart, or when that is gone"});
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
