// SPDX-License-Identifier: Apache-2.0
// InterfaceLink: whether a kernel interface is up and has a carrier. Its DPDK port always says so.
#pragma once

#include <string>

namespace vmnat::control {

class InterfaceLink {
 public:
  InterfaceLink() = default;  // of no interface
  explicit InterfaceLink(const std::string& interface);
  InterfaceLink(InterfaceLink&& other) noexcept;
  InterfaceLink& operator=(InterfaceLink&& other) noexcept;
  ~InterfaceLink();

  [[nodiscard]] bool is_known() const { return socket_ >= 0; }
  // False of one that is gone, too.
  [[nodiscard]] bool is_up() const;

 private:
  int socket_ = -1;
  std::string interface_;
};

}  // namespace vmnat::control
