// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/outbound_flow.h"

#include <optional>

#include "dataplane/detours/hairpin.h"
#include "dataplane/detours/icmp_error.h"
#include "dataplane/detours/local.h"
#include "dataplane/detours/refuse.h"
#include "dataplane/pipeline/deliver.h"
#include "dataplane/pipeline/fragments.h"
#include "dataplane/pipeline/host.h"
#include "dataplane/pipeline/oversize.h"
#include "dataplane/pipeline/rules.h"

namespace vmnat::dataplane {
namespace {

// A frame for the gateway's own address.
void serve_gateway(Context& context, const Network& network, Burst& burst, unsigned i) {
  rte_mbuf* frame = burst.frames[i];
  const ParsedPacket& packet = burst.packets[i];
  if (is_echo_request(frame, packet)) return answer_echo(context, frame, packet, burst.ports[i]);
  if (network.dhcp && is_dhcp_request(frame, packet))
    return context.punt(frame, burst.ports[i], PuntReason::Dhcp);  // RFC 2131 4.3.2 renewing
  if (network.host.is_there()) return pass_to_host(context, burst, i);
  refuse(context, burst, i, DropReason::GatewayService);
}

// By what the address is, wherever it is.
std::optional<DropReason> refused_kind(net::Ipv4Addr remote) {
  switch (remote.kind()) {
    case net::AddressKind::Multicast:
    case net::AddressKind::LimitedBroadcast:
      return DropReason::DestinationMulticast;
    case net::AddressKind::LinkLocal:
      return DropReason::LinkLocal;
    case net::AddressKind::ThisNetwork:
    case net::AddressKind::Loopback:
    case net::AddressKind::ProtocolAssignment:
    case net::AddressKind::Reserved:
      return DropReason::DestinationInvalid;  // RFC 1812 5.3.7
    case net::AddressKind::Unicast:
      break;
  }
  return std::nullopt;
}

std::optional<DropReason> refused_destination(const Context& context, const Port& port,
                                              net::Ipv4Addr remote) {
  const ForwardingState& state = *context.state;
  if (const auto refused = refused_kind(remote)) return refused;
  if (state.is_edge_of_uplink(remote)) return DropReason::DestinationMulticast;
  if (const NetworkIndex network = state.network_of(remote); network != kNoNetwork)
    return network == port.network ? DropReason::DestinationInside : DropReason::BetweenNetworks;
  return std::nullopt;
}

// Without a port there is nobody to turn round to, unless the address is a VM's alone; a router cannot be trusted
// to do it with our own address. A VM that is not translated would be seen by its inside address.
bool is_lost_hairpin(const Context& context, const Network& network, const ParsedPacket& packet,
                     net::Ipv4Addr remote) {
  if (!context.state->is_external(remote)) return false;
  const bool leads_on = packet.kind != PacketKind::Other || context.state->pair_at(remote) != nullptr;
  const bool is_for_gateway =
      packet.kind == PacketKind::IcmpRequest || packet.kind == PacketKind::LaterEchoFragment;
  return !leads_on || !turns_round(context, remote) || (network.is_routed && !is_for_gateway);
}

// The policy for a new outbound flow.
std::optional<DropReason> refusal_to_open(const Context& context, const Burst& burst, unsigned i) {
  const Port& port = context.state->ports[burst.ports[i]];
  const Network& network = context.state->networks[port.network];
  if (!network.has_host(burst.keys[i].local_endpoint().address)) return DropReason::SourceForeign;
  if (burst.packets[i].kind == PacketKind::IcmpReply) return DropReason::IcmpType;
  if (const auto refused = refused_destination(context, port, burst.keys[i].remote_endpoint().address))
    return refused;
  if (!network.has_way_out) return DropReason::NoForwarding;
  const Uplink& uplink = context.state->uplink_of(port.network);
  if (!uplink.has_address()) return DropReason::NoUplinkAddress;
  if (is_lost_hairpin(context, network, burst.packets[i], burst.keys[i].remote_endpoint().address))
    return DropReason::Hairpin;
  const net::Ipv4Addr remote = burst.keys[i].remote_endpoint().address;
  if (!uplink.has_route(remote) && !turns_round(context, remote)) return DropReason::NoRoute;
  if (uplink.is_silent(remote)) return DropReason::NeighborUnresolved;
  if (ipv4_of(burst.frames[i]).ttl <= 1) return DropReason::TtlExpired;
  if (const std::uint16_t mtu = uplink.mtu;
      burst.packets[i].total_length > mtu && is_too_big(burst.frames[i], mtu))
    return DropReason::TooBig;
  return std::nullopt;
}

// What the configuration says of the flow's external endpoint. An exemption goes before all, then what is the VM's
// alone. False: its address is about to be the VM's and not yet; the frame has ended.
bool choose_way_out(Context& context, const Burst& burst, unsigned i, conntrack::OutboundFlow& flow) {
  const ForwardingState& state = *context.state;
  const net::Endpoint internal = flow.key.local_endpoint();
  const net::Ipv4Addr remote = flow.key.remote_endpoint().address;
  const NetworkIndex network = state.ports[burst.ports[i]].network;
  if (state.is_exempt(network, internal.address, remote)) {
    flow.own_address = internal.address;
    return true;
  }
  if (const AddressPair* pair = state.pair_of(internal.address)) {
    if (pair->is_draining) refuse(context, burst, i, DropReason::NoPort);
    flow.own_address = pair->external;
    return !pair->is_draining;
  }
  flow.static_mapping = state.static_mapping_of(internal, flow.key.protocol(), remote);
  if (const EgressRule* rule = state.egress_rule(network, internal.address, remote)) flow.pool = rule->pool;
  return true;
}

}  // namespace

Session* open_outbound_flow(Context& context, Burst& burst, unsigned i) {
  rte_mbuf* frame = burst.frames[i];
  const NetworkIndex network_index = context.state->ports[burst.ports[i]].network;
  const Network& network = context.state->networks[network_index];
  const FlowKey& key = burst.keys[i];
  const bool is_error = burst.packets[i].kind == PacketKind::IcmpError;
  const bool is_for_gateway = key.remote_endpoint().address == network.gateway.address;
  if (is_error && !(is_for_gateway && network.host.is_there())) {
    if (Session* session = translate_icmp_error<Direction::Outbound>(context, burst, i))
      deliver_outbound(context, Burst::of(frame, burst.ports[i], session));
    return nullptr;
  }
  if (is_for_gateway) {
    serve_gateway(context, network, burst, i);
    return nullptr;
  }
  if (const auto refusal = refusal_to_open(context, burst, i)) {
    refuse(context, burst, i, *refusal);
    return nullptr;
  }
  if (is_echo_request(frame, burst.packets[i]) && context.state->is_gateways(key.remote_endpoint().address)) {
    answer_echo(context, frame, burst.packets[i], burst.ports[i]);
    return nullptr;
  }
  if (is_later_fragment(burst.packets[i])) {
    if (Session* session = context.conntrack.find(key)) return session;  // opened earlier in this burst
    context.drop(frame, burst.ports[i], DropReason::FragmentRefused);
    return nullptr;
  }
  const VmSide vm{burst.ports[i], Direction::Outbound, key.local_endpoint().port};
  if (const auto refusal = refusal_by_rules(context, burst, i, vm)) {
    refuse(context, burst, i, *refusal);
    return nullptr;
  }
  conntrack::OutboundFlow flow{.key = key,
                               .vm_port = burst.ports[i],
                               .mac = ethernet_of(frame).source,
                               .tcp_flags = burst.packets[i].tcp_flags,
                               .probable_port = burst.probable_ports[i]};
  if (!choose_way_out(context, burst, i, flow)) return nullptr;
  // One that an earlier frame of this burst has opened is given again.
  const conntrack::Opened opened = context.conntrack.open_outbound(flow, network_index, context.now);
  if (opened.session == nullptr) refuse(context, burst, i, reason_of(opened.verdict));
  return opened.session;
}

}  // namespace vmnat::dataplane
