// SPDX-License-Identifier: Apache-2.0
// FlowPlan: which tuples the generator uses, as a pure function of the flow's number.
//
// A flow is one internal endpoint (RFC 4787's X:x) talking UDP to one remote endpoint (Y:y). Addresses and
// ports are pseudo-random with a fixed seed (RFC 4814: sequential tuples flatter hash tables), never repeat,
// and need no table: a permutation of the tuple space is evaluated at the flow's number. Flows beyond
// `endpoints` use the internal endpoints again with other remotes, so that a million flows fit behind one
// external address:
//
//   hosts 250, endpoints 60000:  flow 7 = X7:x7 -> Y7:y7,  flow 60007 = X7:x7 -> Y60007:y60007
//
// The first n flows of a plan are the same for every n: a run with 100 k flows continues one with 10 k.
//
// Each host lives at one VM port, whose MAC it has:
//
//   network 10.0.0.1/24, 3 VM ports:  10.0.0.2 at port 0, 10.0.0.3 at 1, 10.0.0.4 at 2, 10.0.0.5 at 0
#pragma once

#include <cstdint>
#include <vector>

#include "net/address.h"

namespace vmnat::bench {

using FlowNumber = std::uint32_t;

// What a frame carries, seen from its sender.
struct Tuple {
  net::Endpoint source;
  net::Endpoint destination;
  constexpr bool operator==(const Tuple&) const = default;
};

struct FlowSpace {
  net::Ipv4Prefix
      network;  // the gateway's address and length; hosts are taken in order, the gateway left out
  std::uint32_t hosts = 250;        // internal addresses in use
  std::uint32_t endpoints = 60000;  // distinct internal endpoints
  std::uint32_t vm_ports = 1;       // which the hosts live at, in turn
  net::Ipv4Prefix remotes;          // remote addresses are drawn from here
  std::uint64_t seed = 1;
};

// A pseudo-random bijection of 0..size-1, by a Feistel network with cycle walking.
class Permutation {
 public:
  Permutation(std::uint64_t size, std::uint64_t seed);
  [[nodiscard]] std::uint64_t at(std::uint64_t index) const;
  [[nodiscard]] std::uint64_t size() const { return size_; }

 private:
  [[nodiscard]] std::uint64_t mixed(std::uint64_t value) const;

  std::uint64_t size_;
  std::uint64_t seed_;
  unsigned half_bits_;
};

class FlowPlan {
 public:
  // Throws std::invalid_argument when the space cannot hold what it says.
  explicit FlowPlan(const FlowSpace& space);

  [[nodiscard]] net::Endpoint internal(FlowNumber flow) const;
  [[nodiscard]] net::Endpoint remote(FlowNumber flow) const;
  [[nodiscard]] Tuple outbound(FlowNumber flow) const { return {internal(flow), remote(flow)}; }
  // The VM port of its host.
  [[nodiscard]] unsigned vm_port(FlowNumber flow) const { return host_index(flow) % space_.vm_ports; }
  // Whether this is the address of a host at this VM port, in use or not.
  [[nodiscard]] bool lives_at(net::Ipv4Addr address, unsigned vm_port) const;
  // Flows with larger numbers would repeat tuples.
  [[nodiscard]] std::uint64_t most_flows() const { return remote_order_.size(); }
  [[nodiscard]] net::Ipv4Addr host(std::uint32_t index) const;
  [[nodiscard]] const FlowSpace& space() const { return space_; }

 private:
  [[nodiscard]] std::uint64_t endpoint_index(FlowNumber flow) const {
    return endpoint_order_.at(flow % space_.endpoints);
  }
  [[nodiscard]] std::uint32_t host_index(FlowNumber flow) const;

  FlowSpace space_;
  Permutation endpoint_order_;
  Permutation remote_order_;
};

// What has been learned about the flows of a plan: the external endpoint that the device under test gave
// each, and whether a frame has come back through it.
class FlowTable {
 public:
  void reserve_flows(FlowNumber count);
  [[nodiscard]] FlowNumber size() const { return static_cast<FlowNumber>(external_.size()); }

  // False when the flow was seen before with another external endpoint.
  bool record_external(FlowNumber flow, net::Endpoint external);
  void record_return(FlowNumber flow) { returned_[flow] = true; }

  [[nodiscard]] bool is_learned(FlowNumber flow) const { return external_[flow] != net::Endpoint{}; }
  [[nodiscard]] bool has_returned(FlowNumber flow) const { return returned_[flow]; }
  [[nodiscard]] net::Endpoint external(FlowNumber flow) const { return external_[flow]; }

  // Flows that share external and remote endpoint with another: replies to them could not be told apart.
  [[nodiscard]] FlowNumber count_shared_tuples(const FlowPlan& plan) const;
  // Internal endpoints seen with more than one external endpoint (RFC 4787 REQ-1 wants none).
  [[nodiscard]] FlowNumber count_dependent_mappings(std::uint32_t endpoints) const;

 private:
  std::vector<net::Endpoint> external_;
  std::vector<bool> returned_;
};

}  // namespace vmnat::bench
