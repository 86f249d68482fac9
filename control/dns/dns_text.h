// SPDX-License-Identifier: Apache-2.0
// What dnsmasq(8) is told of a network: its configuration, and the names of the network's leases.
//
//   configuration   which interface, domain, TXT and SRV records, and who is asked for everything else
//   hosts           192.168.122.10 web1.lab.example web1
//
// A change of the first needs another process. The second is a file of a directory that dnsmasq watches.
#pragma once

#include <span>
#include <string>

#include "control/config/model.h"
#include "dhcp/lease.h"

namespace vmnat::control {

struct DnsPlaces {
  std::string hosts_directory;
  std::string resolv_conf = "/etc/resolv.conf";
};

// The configuration for a network whose DNS is served (config::serves_dns).
std::string dnsmasq_configuration(const config::Network& network, const DnsPlaces& places);

// `dns.hosts` and the names of leases and reservations, one line an address. Of several that claim one name the file
// comes first, then whoever has a reservation, then the lowest address.
std::string dns_hosts(const config::Network& network, std::span<const dhcp::Lease> leases);

}  // namespace vmnat::control
