// SPDX-License-Identifier: Apache-2.0
// Checks between values, after all of them were read; internal to control/config.
//
// Each check looks only at values that were read well (Findings::marks), so one mistake makes one complaint.
#pragma once

#include <map>

#include "control/config/section.h"

namespace vmnat::config {

void check_config(const Config& config, Findings& findings);

// Each uplink, and what several of them need.
void check_uplinks(const Config& config, Findings& findings);

// How many ports and devices there are, and which of them are one port's alone.
void check_devices(const Config& config, Findings& findings);

void check_network(const Config& config, std::size_t index, Findings& findings);
// Rates of ports, networks and the uplink.
void check_limits(const Config& config, Findings& findings);
// The rules of the network and of its ports.
void check_rules(const Config& config, std::size_t index, Findings& findings);
// The external side of all networks: addresses, ports, forwards.
void check_nat(const Config& config, Findings& findings);

// External addresses that are one VM's alone: nat.static of all networks.
void check_static_nat(const Config& config, Findings& findings);
void check_nat_rules(const Config& config, Findings& findings);
inline constexpr std::uint64_t kMostExternalAddresses = 4096;  // of all networks: 264 million ports
// A range of external addresses: `path` is where it stands.
void check_external_range(const AddressRange& range, const Config& config, const std::string& path,
                          Findings& findings);

// Values of one kind, of which no two may be the same.
template <typename T>
class Unique {
 public:
  Unique(std::string what, Findings& findings) : what_(std::move(what)), findings_(findings) {}
  // `path` is where the value stands; a misread value is passed over.
  void add(const T& value, const std::string& path, const std::string& text) {
    if (!findings_.has(path)) return;
    const Position at = findings_.marks.at(path);
    const auto [first, is_new] = seen_.emplace(value, at);
    if (!is_new)
      findings_.complain(at, what_ + " " + text + " is already used " + findings_.place(first->second, at));
  }

 private:
  std::string what_;
  Findings& findings_;
  std::map<T, Position> seen_;
};

// "uplink", or "uplinks[2]" where there are several.
inline std::string uplink_path(const Config& config, std::size_t number) {
  return config.uplinks.empty() ? "uplink" : indexed("uplinks", number);
}
// "the uplink", or "uplink 'wan1'".
inline std::string uplink_text(const Config& config, std::size_t number) {
  return config.uplinks.empty() ? "the uplink" : "uplink '" + config.uplinks[number].name + "'";
}

// "networks[2]" and below.
inline std::string network_path(std::size_t index) {
  return indexed("networks", index);
}

// Complains when an address of an interface is the network or the broadcast address of its own prefix.
void check_is_host_of(const net::Ipv4Prefix& prefix, net::Ipv4Addr address, const std::string& path,
                      const std::string& subject, Findings& findings);

}  // namespace vmnat::config
