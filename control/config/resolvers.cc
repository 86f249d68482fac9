// SPDX-License-Identifier: Apache-2.0
// resolv.conf(5), as far as "nameserver ADDRESS" goes.
#include "control/config/resolvers.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "control/config/values.h"

namespace vmnat::config {
namespace {

constexpr std::size_t kLongestFile = 64 << 10;

// None when it is not a regular file: reading a pipe or a device might wait.
std::vector<net::Ipv4Addr> resolvers_of_file(const char* path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return {};
  std::ifstream file(path);
  std::string text(kLongestFile, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  return usable_resolvers(text);
}

}  // namespace

std::vector<net::Ipv4Addr> usable_resolvers(std::string_view resolv_conf) {
  std::vector<net::Ipv4Addr> found;
  std::istringstream lines{std::string{resolv_conf}};
  for (std::string line; std::getline(lines, line) && found.size() < kMostResolvers;) {
    std::istringstream words(line);
    std::string keyword, text;
    if (!(words >> keyword >> text) || keyword != "nameserver") continue;
    const auto address = host_address(text);
    if (address && std::find(found.begin(), found.end(), *address) == found.end()) found.push_back(*address);
  }
  return found;
}

std::vector<net::Ipv4Addr> first_resolvers(std::span<const char* const> files) {
  for (const char* file : files)
    if (auto found = resolvers_of_file(file); !found.empty()) return found;
  return {};
}

std::vector<net::Ipv4Addr> host_resolvers() {
  static constexpr const char* kFiles[] = {"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf",
                                           "/run/NetworkManager/no-stub-resolv.conf"};
  return first_resolvers(kFiles);
}

}  // namespace vmnat::config
