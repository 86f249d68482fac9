// SPDX-License-Identifier: Apache-2.0
// InterfaceLink: whether a kernel interface is up and has a carrier. Its DPDK port always says so.
#pragma once

#include <string>

#include "control/system/file_descriptor.h"

namespace vmnat::control {

class InterfaceLink {
 public:
  InterfaceLink() = default;  // of no interface
  explicit InterfaceLink(const std::string& interface);

  [[nodiscard]] bool is_known() const { return socket_.is_open(); }
  // False of one that is gone, too.
  [[nodiscard]] bool is_up() const;

 private:
  FileDescriptor socket_;
  std::string interface_;
};

}  // namespace vmnat::control
