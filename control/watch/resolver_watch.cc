// SPDX-License-Identifier: Apache-2.0
#include "control/watch/resolver_watch.h"

#include <algorithm>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <utility>

namespace vmnat::control {
namespace {

bool follows_host(const config::Network& network) {
  return network.dhcp && network.dhcp->dns.from != config::DnsSource::Listed;
}

bool is_told_the_hosts(const config::Network& network) {
  return network.dhcp && network.dhcp->dns.from == config::DnsSource::Host;
}

std::string text_of(const std::vector<net::Ipv4Addr>& addresses) {
  std::string text;
  for (const net::Ipv4Addr address : addresses) text += (text.empty() ? "" : ", ") + net::to_string(address);
  return text.empty() ? "none that a VM could use" : text;
}

}  // namespace

ResolverWatch::ResolverWatch(config::Config& config, Read read)
    : config_(config), read_(std::move(read)), taken_(read_()), seen_(taken_) {}

bool ResolverWatch::look(Time now) {
  if (now < next_) return false;
  next_ = now + kPause;
  const std::vector<net::Ipv4Addr> before = std::exchange(seen_, read_());
  if (seen_ != before || seen_ == taken_) return false;
  taken_ = seen_;
  bool has_changed = false;
  for (config::Network& network : config_.networks) {
    if (!follows_host(network) || network.dhcp->dns.servers == taken_) continue;
    network.dhcp->dns.servers = taken_;
    has_changed = true;
  }
  if (has_changed) spdlog::info("the resolvers of this host have changed: {}", text_of(taken_));
  return has_changed;
}

void ResolverWatch::tell(const std::string& problem) {
  if (std::exchange(told_, problem) == problem) return;
  if (problem.empty())
    spdlog::info("VMs are told resolvers again");
  else
    spdlog::warn("{}", problem);
}

std::string resolver_problem(const config::Config& config, const std::vector<net::Ipv4Addr>& of_lease) {
  std::vector<std::string_view> names;
  for (const config::Network& network : config.networks)
    if (is_told_the_hosts(network) && network.dhcp->dns.servers.empty() && of_lease.empty())
      names.emplace_back(network.name);
  if (names.empty()) return {};
  return fmt::format("VMs of network {} are told no resolver: {}", fmt::join(names, ", "),
                     config::kNoUsableResolver);
}

}  // namespace vmnat::control
