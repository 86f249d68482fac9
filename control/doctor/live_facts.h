// SPDX-License-Identifier: Apache-2.0
// LiveFacts: what a running vmnatd knows, and nobody else. Copied on control's thread, so that it can be looked at on
// another one.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "net/address.h"

namespace vmnat::doctor {

// How far a VMM has come on its socket.
enum class Attachment {
  Nobody,
  Connected,
  NoMemory,  // features are agreed to, and no memory came after them
  Attached,
};

// What a port counts, of a VM and its VMM.
struct PortCounts {
  std::uint64_t received = 0;            // frames of the VM
  std::uint64_t taken = 0, untaken = 0;  // for it, and those of them that it had no buffer for
  std::uint64_t spoofed = 0, over_budget = 0;
  std::uint64_t refused_connections = 0, refused_messages = 0;
};

struct LivePort {
  std::string name;
  std::string socket;  // vhost-user; empty: another kind
  bool is_up = false;
  Attachment attachment = Attachment::Nobody;
  std::chrono::seconds unchanged{};   // link and attachment have been so for
  PortCounts since_change;            // counted since
  PortCounts recent;                  // in the last minute or two
  std::vector<std::string> features;  // of virtio, as agreed
};

struct LivePool {
  std::string network;
  std::uint64_t addresses = 0, leased = 0;
};

struct LiveUplink {
  bool is_up = false;
  bool waits_for_lease = false;
  std::string lease_problem;
  net::Ipv4Addr gateway;               // 0.0.0.0: none
  bool is_gateway_known = true;        // it answers ARP
  std::uint64_t recent_conflicts = 0;  // claims of addresses of ours
};

struct DeadUplink {
  std::string name, why;
};

struct ClockStep {
  std::chrono::milliseconds by{};
  std::chrono::seconds ago{};
};

struct LiveFacts {
  std::vector<unsigned> worker_cpus;
  bool uses_hugepages = false;
  std::vector<LivePort> ports;  // VMs' alone
  std::vector<LivePool> pools;
  LiveUplink uplink;                     // the first one
  std::vector<DeadUplink> dead_uplinks;  // of those of `uplinks`; of the only one what is above tells more
  std::vector<net::Ipv4Addr> external_addresses;  // of vmnat, on uplinks' links
  std::string lease_problem;                      // of the journal; empty: leases are kept
  std::vector<std::string> networks_without_dns;  // whose DNS does not run
  std::string resolver_problem;
  std::uint64_t recent_refusals = 0;  // of sessions
  std::optional<ClockStep> clock_step;
};

}  // namespace vmnat::doctor
