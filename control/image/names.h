// SPDX-License-Identifier: Apache-2.0
// SessionNames: what the numbers in session records stand for, so that the next process, whose numbers may be
// others, finds out what a record is about.
//
//   {"ports":["uplink","vm1","vm2"],"owners":[0,1,0],"networks":["default"],"rented":"203.0.113.2",
//    "uplinks":["uplink"],"more_rented":{"wan2":"192.0.2.7"}}
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "net/address.h"

namespace vmnat::control {

struct SessionNames {
  std::vector<std::string> ports;      // by PortIndex; empty: nobody has this number
  std::vector<WorkerIndex> owners;     // of the ports: a VM stays with its worker, whose port blocks it uses
  std::vector<std::string> networks;   // by NetworkIndex, which is a policy's id
  net::Ipv4Addr rented;                // the address that DHCP gave the first uplink; unspecified: none
  std::vector<std::string> uplinks{};  // that networks are on; empty: the only one, or it was not written
  std::map<std::string, net::Ipv4Addr> more_rented{};  // of other uplinks
  bool operator==(const SessionNames&) const = default;
};

std::string to_json(const SessionNames& names);
// Nothing when it is no such text.
std::optional<SessionNames> names_in(std::string_view json);

}  // namespace vmnat::control
