// SPDX-License-Identifier: Apache-2.0
// External endpoints without a choice of a port: a forward's, an address that is the VM's alone, the internal endpoint
// itself, and that of a protocol without ports.
#include "conntrack/conntrack.h"

namespace vmnat::conntrack {

// RFC 4787 REQ-1: the forward is the internal endpoint's mapping. False: the forward's port has a session
// towards this very remote, of another VM that it used to lead to.
bool Conntrack::choose_static(const OutboundFlow& flow, Choice& choice) {
  const auto external = addresses_->index_of(flow.static_mapping->address);
  const FlowKey inbound{flow.key.remote, FlowKey::pack(*flow.static_mapping)};
  if (!external || is_taken(inbound) || !claim_port(inbound)) return false;
  choice.external = *external;
  choice.port = flow.static_mapping->port;
  return true;
}

// The external address is the internal one's alone, or the same: so is each of its ports. It is taken only while a
// session of another user of the address is about to end.
Verdict Conntrack::choose_own(const OutboundFlow& flow, Choice& choice) {
  const net::Endpoint internal = flow.key.local_endpoint(), own{*flow.own_address, internal.port};
  const bool is_there = own == internal || addresses_->index_of(own.address);
  const bool is_portless = port_space(flow.key.protocol()) == PortSpace::None;
  if (is_portless && ports_.portless_owner(flow.key.remote_endpoint().address) != worker_)
    return Verdict::OtherWorker;
  if (!is_there || is_taken({flow.key.remote, FlowKey::pack(own)})) return Verdict::NoFreePort;
  choice.port = own.port;
  choice.flags |= Session::kPrivatePort;
  return Verdict::Opened;
}

// One session for each (external address, remote, protocol): no port tells two apart.
Verdict Conntrack::choose_portless(const OutboundFlow& flow, const NatPolicy& policy, Choice& choice) {
  const FlowKey& outbound = flow.key;
  if (ports_.portless_owner(outbound.remote_endpoint().address) != worker_) return Verdict::OtherWorker;
  const net::Ipv4Addr internal = outbound.local_endpoint().address;
  const auto external = first_address(policy.pool(flow.pool), internal, [&](ExternalIndex candidate) {
    return !is_taken({outbound.remote, FlowKey::pack({addresses_->address(candidate), net::L4Port{}})});
  });
  if (!external) return Verdict::NoFreePort;
  choice.external = *external;
  return Verdict::Opened;
}

}  // namespace vmnat::conntrack
