// SPDX-License-Identifier: Apache-2.0
#include "control/plan/device_requests.h"

#include <algorithm>
#include <map>

#include "control/plan/initial_state.h"

namespace vmnat::control {
namespace {

// Ports have one queue each of a device that they share.
unsigned most_queues_of(const config::Config& config, const config::Uplink& uplink, unsigned worker_count) {
  return is_shared(config, uplink.device) ? 1 : uplink.queues.value_or(worker_count);
}

DeviceRequest uplink_request(const config::Config& config, std::size_t number, unsigned worker_count) {
  const config::Uplink& uplink = config::uplink_at(config, number);
  return {.name = config::uplink_title(config, number),
          .device = uplink.device.name,
          .driver = uplink.device.driver,
          .vlan = config::vlan_of(uplink),
          .mtu = uplink.mtu,
          .queues = most_queues_of(config, uplink, worker_count),
          .fewer_queues_will_do = !uplink.queues,
          .promiscuous = uplink.mac ? Promiscuous::Yes : Promiscuous::No,
          .receives_replies = number == 0};
}

// Whoever is first opens it for all.
void suit_trunks(std::vector<DeviceRequest>& requests) {
  struct Wanted {
    std::uint16_t mtu = 0;
    Promiscuous promiscuous = Promiscuous::No;
  };
  std::map<std::string, Wanted> of_trunks;
  for (const DeviceRequest& request : requests) {
    Wanted& wanted = of_trunks[request.trunk()];
    wanted.mtu = std::max(wanted.mtu, request.mtu);
    if (request.promiscuous == Promiscuous::Yes) wanted.promiscuous = Promiscuous::Yes;
  }
  for (DeviceRequest& request : requests) {
    const std::string trunk = request.trunk();
    if (trunk.empty()) continue;
    request.trunk_mtu = of_trunks[trunk].mtu;
    request.promiscuous = of_trunks[trunk].promiscuous;
  }
}

// By packet sockets, or by what sorts a trunk's frames.
bool are_vlans_of_one(const DeviceRequest& one, const DeviceRequest& other) {
  if (!one.vlan || !other.vlan || one.device != other.device) return false;
  const auto can_share = [](const DeviceRequest& request) {
    return !request.takes_buffers() || !request.trunk().empty();
  };
  return can_share(one) && can_share(other);
}

// What the port says goes before what the section says of all.
config::SocketAccess access_of(const config::VmPort& port, const config::VhostUser& sockets) {
  config::SocketAccess access = port.access.value_or(config::SocketAccess{});
  if (access.owner.empty()) access.owner = sockets.owner;
  if (access.group.empty()) access.group = sockets.group;
  if (!access.mode) access.mode = sockets.mode;
  return access;
}

}  // namespace

DeviceRequest device_request_of(const config::VmPort& port, std::uint16_t mtu,
                                const config::VhostUser& sockets) {
  return {.name = "port " + port.name,
          .vhost_user = port.vhost_user,
          .mode = port.mode,
          .sockets = sockets,
          .without = port.features.value_or(config::Features{}).without,
          .access = access_of(port, sockets),
          .device = port.device.name,
          .driver = port.device.driver,
          .vlan = config::vlan_of(port),
          .mtu = mtu,
          .queues = port.queues,
          .promiscuous = Promiscuous::Yes};  // the gateway's MAC is not the device's
}

DeviceRequest host_request_of(const config::Network& network) {
  return {.name = "host " + network.host->interface,
          .device = network.host->interface,
          .mtu = network.mtu,
          .host = HostAddress{network.address, gateway_mac(network)}};
}

// A NIC, and an interface of our own, is configured with an MTU; whatever else there is takes any.
bool is_same_device(const DeviceRequest& one, const DeviceRequest& other) {
  const bool has_mtu = one.host || (!one.is_vhost() && !one.is_kernel_interface());
  return one.name == other.name && one.vhost_user == other.vhost_user && one.device == other.device &&
         one.driver == other.driver && one.vlan == other.vlan && one.mode == other.mode &&
         one.without == other.without && one.access == other.access && one.queues == other.queues &&
         one.host == other.host && (!has_mtu || one.mtu == other.mtu);
}

bool is_same_place(const DeviceRequest& one, const DeviceRequest& other) {
  if (one.host && other.host && one.host->address.overlaps(other.host->address)) return true;
  return one.vhost_user == other.vhost_user &&
         config::canonical_name(one.device) == config::canonical_name(other.device) &&
         (one.vlan == other.vlan || !are_vlans_of_one(one, other));
}

std::vector<DeviceRequest> plan_devices(const config::Config& config, const std::vector<PortPlan>& ports,
                                        unsigned worker_count) {
  std::vector<DeviceRequest> requests;
  for (const PortPlan& port : ports) {
    DeviceRequest& request = requests.emplace_back();
    if (port.config != nullptr)
      request = device_request_of(*port.config, config.networks[port.network].mtu, config.vhost_user);
    else if (port.is_host)
      request = host_request_of(config.networks[port.network]);
    else if (port.is_uplink)
      request = uplink_request(config, requests.size() - 1, worker_count);
    request.number = static_cast<unsigned>(requests.size() - 1);
  }
  suit_trunks(requests);
  return requests;
}

}  // namespace vmnat::control
