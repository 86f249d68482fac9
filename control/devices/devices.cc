// SPDX-License-Identifier: Apache-2.0
#include "control/devices/devices.h"

namespace vmnat::control {

Result<void> Devices::open(const DeviceRequest& request, std::span<rte_mempool* const> pools) {
  if (links_ == nullptr && request.is_kernel_interface()) {
    auto links = KernelLinks::open();
    if (!links) return tl::unexpected(links.error());
    links_ = std::make_unique<KernelLinks>(std::move(*links));
  }
  auto device = Device::open(request, pools, links_.get());
  if (!device) return tl::unexpected(device.error());
  devices_.push_back(std::move(*device));
  return {};
}

void Devices::follow_kernel() {
  if (links_ == nullptr || !links_->follow()) return;
  for (Device& device : devices_) device.follow_kernel();
}

}  // namespace vmnat::control
