// SPDX-License-Identifier: Apache-2.0
// resolv.conf(5), as far as "nameserver ADDRESS" goes.
#include "control/config/resolvers.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "control/config/values.h"

namespace vmnat::config {
namespace {

std::vector<net::Ipv4Addr> resolvers_of_file(const char* path) {
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
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

std::vector<net::Ipv4Addr> host_resolvers() {
  const auto behind_stub = resolvers_of_file("/run/systemd/resolve/resolv.conf");
  return behind_stub.empty() ? resolvers_of_file("/etc/resolv.conf") : behind_stub;
}

}  // namespace vmnat::config
