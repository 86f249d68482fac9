// SPDX-License-Identifier: Apache-2.0
#include "control/remembered_address.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace vmnat::control {

std::optional<net::Ipv4Addr> remembered_address(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return net::parse_ipv4(line);
}

Result<void> remember_address(const std::string& path, net::Ipv4Addr address) {
  const std::string fresh = path + ".new";
  std::ofstream file(fresh, std::ios::trunc);
  file << net::to_string(address) << '\n';
  file.close();
  std::error_code error;
  if (file) std::filesystem::rename(fresh, path, error);
  if (file && !error) return {};
  return tl::unexpected(
      Error{path, "cannot be written: " + (error ? error.message() : std::string{std::strerror(errno)})});
}

}  // namespace vmnat::control
