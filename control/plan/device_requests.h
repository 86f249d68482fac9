// SPDX-License-Identifier: Apache-2.0
// Which devices are to be opened, one for each port, and with what.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/config/model.h"
#include "control/plan/ports.h"

namespace vmnat::control {

enum class Promiscuous { No, Yes };

// What the host has on a network.
struct HostAddress {
  net::Ipv4Prefix address;
  net::MacAddr mac;
  bool operator==(const HostAddress&) const = default;
};

struct DeviceRequest {
  std::string name;        // for messages: "uplink", "port vm1"
  unsigned number = 0;     // makes DPDK's device name unique
  std::string vhost_user;  // socket path, or empty
  config::VhostMode mode = config::VhostMode::Client;
  config::VhostUser sockets;                   // the directory of all sockets
  std::vector<config::VirtioFeature> without;  // features that its VM is not offered
  config::SocketAccess access;                 // of this one: all of it is given, or nothing for devargs
  std::string device;                          // PCI address, interface or devargs, or empty
  config::KernelDriver driver = config::KernelDriver::Auto;
  std::optional<std::uint16_t> vlan;  // of `device`; nothing: all of it
  std::uint16_t mtu = 1500;
  std::uint16_t trunk_mtu = 0;                // the largest of all ports of its trunk, if it is on one
  unsigned queues = 1;                        // pairs
  bool fewer_queues_will_do = false;          // as many as the device has, at most `queues`
  Promiscuous promiscuous = Promiscuous::No;  // on a trunk, if one of its ports is
  std::optional<HostAddress> host;            // `device` is made, for the host to be on the network by
  bool receives_replies = false;              // whose destination port says which worker's they are

  // A vhost-user socket, or the other words of DPDK's devargs for one.
  [[nodiscard]] bool is_vhost() const { return !vhost_user.empty() || device.starts_with("net_vhost"); }
  [[nodiscard]] bool is_kernel_interface() const {
    return vhost_user.empty() && config::device_kind(device) == config::DeviceKind::KernelInterface;
  }
  // What DPDK calls the device that this is a VLAN of, maybe beside others; empty: it is none, or has several queues, so
  // that the device is its own.
  [[nodiscard]] std::string trunk() const {
    return vlan && queues == 1 && vhost_user.empty() ? config::shareable_name(device) : std::string{};
  }
  // Packet buffers lie in its receive queues, from its start on.
  [[nodiscard]] bool takes_buffers() const {
    return !is_vhost() && !config::is_plain_interface(device, driver);
  }
};

// Of a VM's port.
DeviceRequest device_request_of(const config::VmPort& port, std::uint16_t mtu,
                                const config::VhostUser& sockets);

// Of the host's port on a network that has one.
DeviceRequest host_request_of(const config::Network& network);

// Whether one device can be both.
bool is_same_device(const DeviceRequest& one, const DeviceRequest& other);
// Whether the two want one socket, interface, NIC, or the host's address on a network, so that one has to go before the other comes.
bool is_same_place(const DeviceRequest& one, const DeviceRequest& other);

// By PortIndex; without a name where there is no port.
std::vector<DeviceRequest> plan_devices(const config::Config& config, const std::vector<PortPlan>& ports,
                                        unsigned worker_count);

}  // namespace vmnat::control
