// SPDX-License-Identifier: Apache-2.0
#include "control/uplink/remembered_address.h"

#include <fstream>

#include "control/system/whole_file.h"

namespace vmnat::control {

std::optional<net::Ipv4Addr> remembered_address(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return net::parse_ipv4(line);
}

Result<void> remember_address(const std::string& path, net::Ipv4Addr address) {
  return replace_file(path, net::to_string(address) + '\n', Writing::Fast);
}

}  // namespace vmnat::control
