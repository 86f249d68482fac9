// SPDX-License-Identifier: Apache-2.0
// HostInterface: a TAP by which this host is on a network of VMs: the host's kernel has the interface, with the
// gateway's MAC and address, and we are its other end.
//
// It lives as long as this object holds its descriptor: nothing is left of it, whatever way the process ends. One
// that an administrator deletes is made again. What else its administrator changes stays as it is.
//
// Example: {.interface = "vmnat0", .address = 192.168.122.1/24}. `ip address` lists it, and the host reaches
// 192.168.122.10 by the route that the kernel makes of the address.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "control/result.h"
#include "control/system/file_descriptor.h"
#include "control/system/interface_setup.h"
#include "control/system/kernel_routes.h"
#include "dataplane/device/kernel_port.h"
#include "dataplane/device/offload.h"

namespace vmnat::control {

// What of the host's routes is in the way of a network.
struct RouteClash {
  std::string error;  // the same addresses, or a part of them, are somewhere else
  std::string note;   // a wider route, which loses the network's addresses
};
RouteClash find_clash(const net::Ipv4Prefix& network, const std::vector<KernelRoute>& routes);

class HostInterface {
 public:
  struct Settings {
    std::string name;  // for messages: "host vmnat0"
    std::string interface;
    net::Ipv4Prefix address;
    net::MacAddr mac;
    std::uint16_t mtu = 1500;
  };
  // Refused where another interface has the name, or the host's routes lead the network's addresses elsewhere.
  static Result<std::unique_ptr<HostInterface>> open(Settings settings);
  ~HostInterface();
  HostInterface(const HostInterface&) = delete;
  HostInterface& operator=(const HostInterface&) = delete;

  // Some interface of the kernel has changed, perhaps this one.
  void follow();

  [[nodiscard]] dataplane::KernelPort& port() { return port_; }
  [[nodiscard]] net::MacAddr mac() const { return settings_.mac; }
  [[nodiscard]] std::uint32_t openings() const { return port_.openings(); }
  [[nodiscard]] bool is_up() const { return port_.is_open(); }
  [[nodiscard]] std::uint16_t mtu() const { return settings_.mtu; }
  [[nodiscard]] dataplane::Offloads offloads() const;

 private:
  explicit HostInterface(Settings settings) : settings_(std::move(settings)) {}
  Result<void> make();
  void close();

  Settings settings_;
  FileDescriptor tap_;
  bool has_failed_ = false;  // to make it again, which was told
  dataplane::KernelPort port_;
};

}  // namespace vmnat::control
