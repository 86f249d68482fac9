// SPDX-License-Identifier: Apache-2.0
// The leases in the two forms that tools around libvirt read: as text, for files that control replaces.
//
//   dnsmasq's lease file      1700003600 52:54:00:00:00:01 192.168.122.5 vm1 01:52:54:00:00:00:01
//   libvirt's BRIDGE.status   [{"ip-address": "192.168.122.5", "mac-address": "52:54:00:00:00:01",
//                               "hostname": "vm1", "expiry-time": 1700003600}]
//
// Both hold bound leases alone; the end of a lease without end is 0. Hostnames hold no character that either
// form would have to escape.
#pragma once

#include <span>
#include <string>

#include "dhcp/lease.h"

namespace vmnat::dhcp {

// One line a lease: end in seconds since 1970, MAC, address, hostname and client-id, "*" for none.
std::string dnsmasq_lease_lines(std::span<const Lease> leases);

// The JSON array that libvirt's own helper keeps (`virsh net-dhcp-leases`, libnss-libvirt, vagrant read it).
std::string libvirt_status(std::span<const Lease> leases);

}  // namespace vmnat::dhcp
