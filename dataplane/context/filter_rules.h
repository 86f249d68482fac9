// SPDX-License-Identifier: Apache-2.0
// FilterRules: what the VMs of ports may begin with whom (networks[].rules, ports[].rules).
//
// A new flow is judged once for each VM that it is of: outbound for the one that begins it, inbound for the one that
// it is for. First come the port's own rules, then those of its network; the first that matches decides. What none
// matches is dropped where the direction has a rule that accepts, else it passes. Example, a network with
// {in, accept, tcp, local_port 22} and a port with {in, drop, remote 198.51.100.66}:
//
//   198.51.100.7:4000  > VM:22   the port's rule: no;  the network's: accepted
//   198.51.100.66:4000 > VM:22   the port's rule: dropped
//   198.51.100.7:4000  > VM:80   neither: dropped, for `in` has a rule that accepts
//   VM:4000 > 198.51.100.7:80    `out` has no rule: passes
//
// RuleTable is all rules of all ports and networks, as lists of one direction each, in one context of librte_acl. A
// look-up asks it about the two lists of one port at once. FilterRules adds which port has which lists.
//
// Control makes both (filter_rules_setup.cc), immutable, and publishes them with the ForwardingState. Workers count
// in accounts, of which each worker has a line of its own; a rule that stays as it is keeps its account from one table
// to the next.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/cache_line.h"
#include "base/counter.h"
#include "base/ids.h"
#include "conntrack/session.h"
#include "dataplane/context/rule_events.h"
#include "net/address.h"
#include "net/wire.h"

struct rte_acl_ctx;

namespace vmnat::dataplane {

enum class RuleAction : std::uint8_t { Accept, Drop, Reject };

// In place of a peer's port: all VMs of the network, of a frame for a group.
inline constexpr PortIndex kAllPeers = 0x0fff;
static_assert(kMostPorts <= kAllPeers);

// A flow as one VM sees it.
struct FlowSide {
  bool is_ipv4 = true;  // false: nothing but `peer` is known of it
  net::Protocol protocol{};
  std::uint8_t icmp_type = 0;  // of ICMP
  net::L4Port local_port, remote_port;
  net::Ipv4Addr remote;
  std::optional<PortIndex> peer;  // the VM on the other side; nothing: it is beyond the gateway
};

// What a flow has to be. Whatever is not given matches every flow; what is matches IPv4 alone, but for a peer.
struct RuleMatch {
  struct Ports {
    std::uint16_t first = 0, last = 0xffff;
    bool operator==(const Ports&) const = default;
  };
  std::optional<net::Protocol> protocol;
  std::optional<net::Ipv4Prefix> remote;
  std::optional<PortIndex> peer;  // kAllPeers: any VM of the network
  std::optional<Ports> local_ports, remote_ports;
  std::optional<std::uint8_t> icmp_type;
  bool operator==(const RuleMatch&) const = default;
};

// Frames that a rule has decided about: the first of each flow, and all of those that it refuses.
class RuleAccount {
 public:
  explicit RuleAccount(unsigned workers);
  void add(WorkerIndex worker, std::uint32_t bytes) {
    shares_[worker].packets.add(1);
    shares_[worker].bytes.add(bytes);
  }
  // Any thread; of all workers.
  [[nodiscard]] std::uint64_t packets() const { return sum(&Share::packets); }
  [[nodiscard]] std::uint64_t bytes() const { return sum(&Share::bytes); }

 private:
  struct alignas(kCacheLineSize) Share {
    Counter packets, bytes;
  };
  [[nodiscard]] std::uint64_t sum(Counter Share::*counter) const {
    std::uint64_t all = 0;
    for (unsigned i = 0; i < workers_; ++i) all += (shares_[i].*counter).get();
    return all;
  }
  unsigned workers_;
  std::unique_ptr<Share[]> shares_;
};

struct FilterRule {
  RuleMatch match;
  RuleAction action = RuleAction::Accept;
  bool is_logged = false;
  std::string name;  // for a trace: "network default, rule 3"
  std::shared_ptr<RuleAccount> account;
  bool operator==(const FilterRule&) const = default;
};

// The rules of a port or a network in one direction, and what holds where none matches.
struct RuleList {
  std::vector<FilterRule> rules;
  std::optional<FilterRule> otherwise;  // its `match` means nothing
  bool operator==(const RuleList&) const = default;
};

using RuleNumber = std::uint32_t;  // within a table
using ListNumber = std::uint16_t;
inline constexpr RuleNumber kNoRule = 0xffff'ffff;
inline constexpr ListNumber kNoList = 0;

class RuleTable {
 public:
  // Lists are numbered from 1 on in their order, and rules from 0, those of one list behind each other with its
  // `otherwise` as the last. nullptr: no memory of DPDK's is left for it.
  static std::shared_ptr<const RuleTable> build(const std::vector<RuleList>& lists);
  ~RuleTable();
  RuleTable(const RuleTable&) = delete;
  RuleTable& operator=(const RuleTable&) = delete;

  [[nodiscard]] const FilterRule& rule(RuleNumber number) const { return rules_[number]; }
  // The number of a list's `otherwise`; kNoRule: it has none.
  [[nodiscard]] RuleNumber otherwise_of(ListNumber list) const { return otherwise_[list]; }
  // Of the first list the first rule that matches, else of the second. Either may be kNoList.
  [[nodiscard]] RuleNumber first_match(ListNumber first, ListNumber second, const FlowSide& side) const;

 private:
  RuleTable() = default;
  bool fill(const std::vector<RuleList>& lists);

  rte_acl_ctx* context_ = nullptr;  // nullptr: no list has a rule
  std::vector<FilterRule> rules_;
  std::vector<RuleNumber> otherwise_;  // by list
};

// By direction.
struct PortRules {
  std::array<ListNumber, 2> own{}, network{};
  std::array<RuleNumber, 2> otherwise{kNoRule, kNoRule};
  PortIndex vm = 0;  // the port by which its VM is known: its own, unless it migrates from another one

  [[nodiscard]] bool has_any() const { return own != decltype(own){} || network != decltype(network){}; }
  bool operator==(const PortRules&) const = default;
};

struct Judgement {
  RuleAction action = RuleAction::Accept;
  RuleNumber rule = kNoRule;  // that has decided; kNoRule: there is none
};

class FilterRules {
 public:
  // `epoch`: another one than that of the rules before.
  FilterRules(std::shared_ptr<const RuleTable> table, std::vector<PortRules> ports, std::uint16_t epoch,
              unsigned workers);

  [[nodiscard]] bool has_rules(PortIndex port) const {
    return port < ports_.size() && ports_[port].has_any();
  }
  [[nodiscard]] PortIndex vm_at(PortIndex port) const {
    return port < ports_.size() ? ports_[port].vm : port;
  }
  [[nodiscard]] Judgement judge(PortIndex port, Direction direction, const FlowSide& side) const;
  // Whether the flow of the session might begin now. Of ICMP it is taken for an echo's.
  [[nodiscard]] bool accepts(const conntrack::Session& session) const;

  [[nodiscard]] const RuleTable& table() const { return *table_; }
  [[nodiscard]] const std::shared_ptr<const RuleTable>& shared_table() const { return table_; }
  [[nodiscard]] const std::vector<PortRules>& ports() const { return ports_; }
  [[nodiscard]] std::uint16_t epoch() const { return epoch_; }
  // What a worker tells control of rules that are logged.
  [[nodiscard]] RuleEvents& events(WorkerIndex worker) const { return events_[worker]; }
  [[nodiscard]] unsigned workers() const { return workers_; }

 private:
  std::shared_ptr<const RuleTable> table_;
  std::vector<PortRules> ports_;  // by PortIndex
  std::uint16_t epoch_;
  unsigned workers_;
  std::unique_ptr<RuleEvents[]> events_;  // by worker
};

}  // namespace vmnat::dataplane
