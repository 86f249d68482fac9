// SPDX-License-Identifier: Apache-2.0
// Expansions of the model: what its short forms stand for.
#include "control/config/model.h"

#include <algorithm>
#include <cctype>

namespace vmnat::config {
namespace {

// Matches `text` from its start against a pattern where 'x' is a hexadecimal digit and '7' one of 0-7.
bool starts_with_pattern(std::string_view text, std::string_view pattern) {
  if (text.size() < pattern.size()) return false;
  return std::equal(pattern.begin(), pattern.end(), text.begin(), [](char expected, char c) {
    if (expected == 'x') return std::isxdigit(static_cast<unsigned char>(c)) != 0;
    if (expected == '7') return c >= '0' && c <= '7';
    return c == expected;
  });
}

bool starts_with_pci_address(std::string_view text) {
  for (const std::string_view pattern : {"xxxx:xx:xx.7", "xx:xx.7"})
    if (starts_with_pattern(text, pattern))
      return text.size() == pattern.size() || text[pattern.size()] == ',';
  return false;
}

}  // namespace

DeviceKind device_kind(std::string_view device) {
  if (starts_with_pci_address(device)) return DeviceKind::Pci;
  const bool names_a_driver = device.starts_with("net_") || device.starts_with("eth_");
  return names_a_driver || device.find(',') != std::string_view::npos ? DeviceKind::Devargs
                                                                      : DeviceKind::KernelInterface;
}

bool is_plain_interface(std::string_view device, KernelDriver driver) {
  return device_kind(device) == DeviceKind::KernelInterface && driver != KernelDriver::Xdp;
}

std::string pci_address(std::string_view device) {
  if (device_kind(device) != DeviceKind::Pci) return {};
  const std::string address{device.substr(0, device.find(','))};
  constexpr std::size_t kWithoutDomain = std::string_view("3b:00.0").size();
  return address.size() == kWithoutDomain ? "0000:" + address : address;
}

std::string shareable_name(std::string_view device) {
  const bool is_socket = device.starts_with("net_vhost");
  if (is_socket || device_kind(device) == DeviceKind::KernelInterface) return {};
  const std::string address = pci_address(device);
  return address.empty() ? std::string{device.substr(0, device.find(','))} : address;
}

std::string canonical_name(std::string_view device) {
  std::string shareable = shareable_name(device);
  return shareable.empty() ? std::string{device} : shareable;
}

std::string_view device_arguments(std::string_view device) {
  return device.substr(std::min(device.size(), device.find(',')));
}

std::size_t uplink_count(const Config& config) {
  return std::max<std::size_t>(config.uplinks.size(), 1);
}

const Uplink& uplink_at(const Config& config, std::size_t number) {
  return config.uplinks.empty() ? config.uplink : config.uplinks[number];
}

std::string uplink_name(const Config& config, std::size_t number) {
  return config.uplinks.empty() ? "uplink" : config.uplinks[number].name;
}

std::string uplink_title(const Config& config, std::size_t number) {
  return config.uplinks.empty() ? "uplink" : "uplink " + config.uplinks[number].name;
}

bool has_fixed_addresses(const Config& config) {
  for (std::size_t i = 0; i < uplink_count(config); ++i)
    if (!uplink_at(config, i).address) return false;
  return true;
}

std::optional<net::Ipv4Addr> probe_of(const Config& config, std::size_t number) {
  return config.uplinks.empty() ? std::nullopt : config.uplinks[number].probe;
}

std::size_t preferred_uplink(const Config& config, const std::string& network) {
  const auto names = [&](const NamedUplink& uplink) {
    return std::ranges::find(uplink.networks, network) != uplink.networks.end();
  };
  const auto found = std::ranges::find_if(config.uplinks, names);
  return found == config.uplinks.end() ? 0 : static_cast<std::size_t>(found - config.uplinks.begin());
}

bool serves_dns(const Network& network) {
  const bool is_told = network.dhcp && network.dhcp->dns.from == DnsSource::Gateway;
  return network.host && (network.dns || is_told);
}

std::vector<net::Ipv4Addr> external_addresses(const Network& network) {
  return network.forward != Forward::Nat ? std::vector<net::Ipv4Addr>{} : all_of(network.nat.addresses);
}

std::vector<net::Ipv4Addr> all_of(const std::vector<AddressRange>& ranges) {
  std::vector<net::Ipv4Addr> all;
  for (const AddressRange& range : ranges)
    for (std::uint64_t i = 0; i < range.size(); ++i)
      all.push_back(net::Ipv4Addr::from_host(range.first.host() + static_cast<std::uint32_t>(i)));
  return all;
}

AddressRange host_range(const net::Ipv4Prefix& network) {
  return {network.first_host(), network.last_host()};
}

}  // namespace vmnat::config
