// SPDX-License-Identifier: Apache-2.0
// The settings of one network's DHCP server: plain values, which control fills from the configuration.
//
// Example: gateway 192.168.122.1/24, ranges {.2-.254}: every VM gets an address of the range, router and
// server identifier are 192.168.122.1. The server itself takes the network's first and last address, the
// gateway's, and whatever is reserved, out of the ranges; it does not check the values otherwise.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dhcp/message.h"
#include "net/address.h"

namespace vmnat::dhcp {

// Both ends belong to the range.
struct AddressRange {
  net::Ipv4Addr first;
  net::Ipv4Addr last;
};

// An address for one VM alone, found by its MAC, or by the port it is plugged into when there is no MAC.
struct Reservation {
  std::optional<net::MacAddr> mac;
  std::string port;
  net::Ipv4Addr address;
  std::string hostname;
};

// How clients are told apart (RFC 2131 section 2 leaves it to the server's configuration). Clones of one
// image often share a client-id, so it is not the default.
enum class Identity : std::uint8_t {
  Mac,       // chaddr
  ClientId,  // option 61, chaddr without one
  Port,      // the port: one address per port, whatever is plugged in
};

struct Route {
  net::Ipv4Prefix to;
  net::Ipv4Addr via;
};

// An option that the configuration gives as bytes. It replaces the built-in one of the same code.
struct RawOption {
  std::uint8_t code;
  Bytes value;
  bool forced = false;  // sent although the client did not ask for it
};

// Network boot: the first entry that fits is taken (boot.h).
struct Boot {
  bool for_ipxe = false;                      // only for iPXE; else for any client
  std::optional<std::uint16_t> architecture;  // only for this one
  net::Ipv4Addr server;                       // siaddr
  std::string server_name;                    // sname and option 66; the server's address in text when empty
  std::string file;                           // file and option 67; at most 255 bytes
};

// RFC 2131 section 3.3: a lease without end.
inline constexpr std::chrono::seconds kInfiniteLease{0xffffffff};

// What one port may ask for; 0: no limit.
struct PortLimits {
  unsigned messages_per_second = 100;  // on average (PortBudget)
  unsigned leases = 16;                // addresses held at a time
};

// A port of the network. A MAC that the configuration gives to one is nobody else's.
struct NetworkPort {
  std::string name;
  std::optional<net::MacAddr> mac;
};

struct NetworkSettings {
  net::Ipv4Prefix gateway;  // the gateway's own address, with the network's prefix length
  net::MacAddr gateway_mac;
  std::vector<AddressRange> ranges;
  std::chrono::seconds lease_time{3600};   // or kInfiniteLease
  std::chrono::seconds offer_time{60};     // how long an offer keeps its address
  std::chrono::seconds decline_time{600};  // how long an address that is in use stays out of the pool
  std::vector<net::Ipv4Addr> dns;
  std::string domain;
  std::vector<std::string> search;
  std::vector<net::Ipv4Addr> ntp;
  std::vector<Route> routes;
  bool offer_router = true;  // false for a network without a way out
  std::uint16_t mtu = 1500;
  std::vector<Boot> boot;
  std::vector<RawOption> options;
  std::vector<Reservation> reservations;
  std::vector<NetworkPort> ports;  // all of the network; empty: not known, and a MAC may be on any port
  Identity identity = Identity::Mac;
  bool authoritative = true;        // NAK what cannot be right, instead of silence
  bool rapid_commit = true;         // RFC 4039: two messages instead of four, for clients that ask
  bool check_before_offer = false;  // an address that the client never had is asked about first (take_check)
  PortLimits limits;                // of ports that have none of their own (Ingress)
};

}  // namespace vmnat::dhcp
