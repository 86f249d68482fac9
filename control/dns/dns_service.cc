// SPDX-License-Identifier: Apache-2.0
#include "control/dns/dns_service.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <system_error>
#include <unistd.h>

namespace vmnat::control {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kAtMostOnceIn{1};

bool may_others_pass(const fs::path& directory) {
  for (fs::path at = directory; !at.empty(); at = at.parent_path()) {
    std::error_code error;
    const fs::perms permissions = fs::status(at, error).permissions();
    if (error || (permissions & fs::perms::others_exec) == fs::perms::none) return false;
    if (at == at.root_path()) break;
  }
  return true;
}

const config::Network* find_network(const config::Config& config, const std::string& name) {
  const auto found = std::ranges::find(config.networks, name, &config::Network::name);
  return found == config.networks.end() ? nullptr : &*found;
}

}  // namespace

std::string dns_directory(const std::string& control_socket) {
  const fs::path directory = fs::path(control_socket).parent_path();
  if (geteuid() != 0 || may_others_pass(directory)) return (directory / "dns").string();
  return directory.string() + "-dns";
}

std::string missing_dns_program(const config::Config& config) {
  if (std::ranges::none_of(config.networks, config::serves_dns) || has_program(DnsServer::kProgram))
    return {};
  return fmt::format(
      "no DNS is served, because {} is not installed (apt install dnsmasq-base): VMs are told "
      "the resolvers of this host",
      DnsServer::kProgram);
}

DnsService::DnsService(boost::asio::io_context& io, const std::string& control_socket)
    : io_(io), directory_(dns_directory(control_socket)), is_installed_(has_program(DnsServer::kProgram)) {}

void DnsService::follow_configuration(const config::Config& config) {
  is_stale_ = true;
  const auto is_served = [&](const std::string& name) {
    const config::Network* const network = find_network(config, name);
    return network != nullptr && config::serves_dns(*network);
  };
  std::erase_if(servers_, [&](const auto& server) { return !is_served(server.first); });
  if (!is_installed_) {
    if (const std::string missing = missing_dns_program(config); !missing.empty())
      spdlog::warn("{}", missing);
    return;
  }
  for (const config::Network& network : config.networks)
    if (config::serves_dns(network))
      servers_.try_emplace(network.name, io_, network.name, directory_ + '/' + network.name)
          .first->second.serve(network);
}

void DnsService::advance(const config::Config& config, const DhcpService& dhcp, SteadyTime now) {
  if (servers_.empty() || now < next_ || (!is_stale_ && known_changes_ == dhcp.lease_changes())) return;
  const SteadyTime begun = std::chrono::steady_clock::now();
  known_changes_ = dhcp.lease_changes();
  is_stale_ = false;
  const auto all = dhcp.leases();
  for (auto& [name, server] : servers_) {
    const auto found = std::ranges::find(all, name, &DhcpService::NetworkLeases::network);
    const config::Network* const network = find_network(config, name);
    if (network == nullptr) continue;
    server.know(found == all.end() ? dns_hosts(*network, {}) : dns_hosts(*network, found->leases));
  }
  next_ = next_turn(begun, now, kAtMostOnceIn);
}

std::vector<std::string> DnsService::notes(const config::Config& config) const {
  std::vector<std::string> notes;
  if (!is_installed_)
    if (std::string missing = missing_dns_program(config); !missing.empty())
      notes.push_back(std::move(missing));
  for (const auto& [name, server] : servers_)
    if (!server.problem().empty()) notes.push_back(server.problem());
  return notes;
}

std::vector<std::string> DnsService::unserved() const {
  std::vector<std::string> networks;
  for (const auto& [name, server] : servers_)
    if (!server.problem().empty()) networks.push_back(name);
  return networks;
}

}  // namespace vmnat::control
