// SPDX-License-Identifier: Apache-2.0
// Checks of ports and their devices: how many there may be, and which places are one port's alone.
//
// Places, of a port each: a socket; a kernel interface driven by AF_XDP; another one, or a VLAN of it; a device that
// DPDK drives, or, where all of its ports have one, a VLAN of it.
#include <map>
#include <set>
#include <utility>

#include "base/ids.h"
#include "control/config/check.h"

namespace vmnat::config {
namespace {

constexpr std::size_t kMostDevices = VMNAT_MOST_PORTS;  // as DPDK was built

bool is_dpdks(const NamedDevice& device) {
  if (!device.is_given() || device.name.starts_with("net_vhost")) return false;
  return !is_plain_interface(device.name, device.driver);
}

// Sockets and kernel interfaces are driven here; DPDK numbers at most kMostDevices of its own, the uplink's among
// them. The first port beyond is named.
void check_port_count(const Config& config, Findings& findings) {
  std::size_t ports = uplink_count(config);
  std::set<std::string> devices;
  // False: it is one too many.
  const auto has_room = [&](const NamedDevice& device) {
    if (!is_dpdks(device)) return true;
    const bool is_new = devices.insert(canonical_name(device.name)).second;
    return !is_new || devices.size() != kMostDevices + 1;
  };
  for (std::size_t i = 0; i < ports; ++i) has_room(uplink_at(config, i).device);
  const auto count = [&](const std::string& path) {
    if (++ports == kMostPorts + 1)
      findings.complain_at(path, "ports: there is room for " +
                                     std::to_string(kMostPorts - uplink_count(config)) +
                                     "; this one is too many");
  };
  for (std::size_t n = 0; n < config.networks.size(); ++n) {
    if (config.networks[n].host) count(network_path(n) + ".host.interface");
    for (std::size_t p = 0; p < config.networks[n].ports.size(); ++p) {
      const std::string path = indexed(network_path(n) + ".ports", p) + ".name";
      count(path);
      if (!has_room(config.networks[n].ports[p].device))
        findings.complain_at(
            path, "ports: DPDK has room for " + std::to_string(kMostDevices) +
                      " devices, not counting sockets and kernel interfaces; this one is too many");
    }
  }
}

// What only a socket has, or only a socket of its own.
void check_socket(const VmPort& port, const std::string& path, const Config& config, Findings& findings) {
  if (port.device.is_given()) {
    if (port.device.vlan && port.vlan)
      findings.complain_at(path + ".vlan", "vlan: the port's device says one already");
    for (const auto& [key, verb] : {std::pair{"mode", "is"}, {"access", "is"}, {"features", "are"}})
      findings.complain_at(path + '.' + key, std::string{key} + ": " + verb + " for vhost_user ports");
    return;
  }
  findings.complain_at(path + ".vlan", "vlan: is for device ports");
  if (port.vhost_user == config.control.socket)
    findings.complain_at(path + ".vhost_user", "vhost_user: " + port.vhost_user + " is the control socket");
  // A relative path was read without its directory.
  if (const auto valid = socket_path(port.vhost_user); !valid)
    findings.complain_at(path + ".vhost_user", "vhost_user: " + port.vhost_user + ": " + valid.error());
}

// An uplink's or a port's device.
struct Use {
  NamedDevice device;
  std::optional<std::uint16_t> vlan;
  unsigned queues;
  std::string path;  // of the uplink or port
};

// What only one port can have.
std::string place_of(const Use& use) {
  const std::string device = canonical_name(use.device.name);
  const bool has_room =
      is_plain_interface(use.device.name, use.device.driver) || !shareable_name(use.device.name).empty();
  return has_room && use.vlan ? device + " VLAN " + std::to_string(*use.vlan) : device;
}

// Of a device that DPDK drives: it is opened once, for all of its ports.
class SharedDevices {
 public:
  explicit SharedDevices(Findings& findings) : findings_(findings) {}
  void add(const Use& use) {
    const std::string device = shareable_name(use.device.name);
    if (!device.empty() && findings_.has(use.path + ".device")) uses_[device].push_back(use);
  }
  void check() {
    for (const auto& [device, uses] : uses_) {
      for (const Use& use : uses) compare(uses.front(), use, device);
      for (const Use& use : uses)
        if (uses.size() > 1 && use.queues > 1)
          findings_.complain_at(use.path + ".queues",
                                "queues: ports that share " + device + " have one each");
    }
  }

 private:
  void compare(const Use& first, const Use& other, const std::string& device) {
    if (place_of(first) == place_of(other)) return;  // the same one, or of no use to both
    const std::string path = other.path + ".device";
    const std::string used =
        "device: " + device + " is already used " +
        findings_.place(findings_.marks.at(first.path + ".device"), findings_.marks.at(path));
    if (device_arguments(first.device.name) != device_arguments(other.device.name))
      findings_.complain_at(path, used + " with other arguments");
    else if (first.vlan.has_value() != other.vlan.has_value())
      findings_.complain_at(path, used + ": ports that share it need a vlan each");
  }

  Findings& findings_;
  std::map<std::string, std::vector<Use>> uses_;  // by what DPDK calls the device
};

void check_devices_and_sockets(const Config& config, Findings& findings) {
  Unique<std::string> devices("device:", findings), sockets("vhost_user: socket", findings);
  SharedDevices shared(findings);
  const auto add = [&](const Use& use) {
    devices.add(place_of(use), use.path + ".device", place_of(use));
    shared.add(use);
  };
  for (std::size_t i = 0; i < uplink_count(config); ++i) {
    const Uplink& uplink = uplink_at(config, i);
    const std::string path = uplink_path(config, i);
    if (uplink.device.vlan && uplink.vlan)
      findings.complain_at(path + ".vlan", "vlan: the uplink's device says one already");
    add({uplink.device, vlan_of(uplink), uplink.queues.value_or(1), path});
  }
  for (std::size_t n = 0; n < config.networks.size(); ++n) {
    const Network& network = config.networks[n];
    if (network.host)
      devices.add(network.host->interface, network_path(n) + ".host.interface", network.host->interface);
    for (std::size_t p = 0; p < network.ports.size(); ++p) {
      const VmPort& port = network.ports[p];
      const std::string path = indexed(network_path(n) + ".ports", p);
      check_socket(port, path, config, findings);
      add({port.device, vlan_of(port), port.queues, path});
      sockets.add(port.vhost_user, path + ".vhost_user", port.vhost_user);
    }
  }
  shared.check();
}

}  // namespace

void check_devices(const Config& config, Findings& findings) {
  check_port_count(config, findings);
  check_devices_and_sockets(config, findings);
}

}  // namespace vmnat::config
