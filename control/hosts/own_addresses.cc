// SPDX-License-Identifier: Apache-2.0
#include "control/hosts/own_addresses.h"

#include "net/arp.h"

namespace vmnat::control {

void OwnAddresses::announce(net::Ipv4Addr address, SteadyTime now) {
  Address& own = addresses_[address];
  own.left = kAnnouncements - 1;
  own.next = now + kAnnounceInterval;
  send(address);
}

void OwnAddresses::defend(net::Ipv4Addr address, SteadyTime now) {
  ++conflicts_;
  Address& own = addresses_[address];
  if (now < own.quiet_until) return;
  own.quiet_until = now + kDefendInterval;
  send(address);
}

void OwnAddresses::advance(SteadyTime now) {
  for (auto& [address, own] : addresses_) {
    if (own.left == 0 || now < own.next) continue;
    --own.left;
    own.next = now + kAnnounceInterval;
    send(address);
  }
}

// "identical to the ARP Probe ... except that now the sender and target IP addresses are both set".
void OwnAddresses::send(net::Ipv4Addr address) {
  const net::ArpFrame announcement = net::arp_request(own_mac_, address, address);
  output_.emplace_back(announcement.bytes().begin(), announcement.bytes().end());
  ++announcements_;
}

}  // namespace vmnat::control
