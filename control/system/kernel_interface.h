// SPDX-License-Identifier: Apache-2.0
// KernelInterface: a network interface of the kernel, by its name (netdevice(7)).
#pragma once

#include <optional>
#include <string>

#include "control/system/file_descriptor.h"

namespace vmnat::control {

class KernelInterface {
 public:
  KernelInterface() = default;  // none
  explicit KernelInterface(const std::string& name);

  [[nodiscard]] bool is_known() const { return socket_.is_open(); }
  // It is up and has a carrier, which its DPDK port always says. False of an interface that is gone, too.
  [[nodiscard]] bool has_link() const;
  [[nodiscard]] std::optional<int> mtu() const;

  // Both answer 0, or the number of the error.
  [[nodiscard]] int bring_up() const;
  [[nodiscard]] int set_mtu(int mtu) const;

 private:
  FileDescriptor socket_;
  std::string name_;
};

}  // namespace vmnat::control
