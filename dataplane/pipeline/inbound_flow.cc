// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/inbound_flow.h"

#include <optional>

#include "dataplane/detours/icmp_error.h"
#include "dataplane/detours/local.h"
#include "dataplane/detours/refuse.h"
#include "dataplane/pipeline/deliver.h"
#include "dataplane/pipeline/fragments.h"
#include "dataplane/pipeline/rules.h"
#include "dataplane/pipeline/steer.h"

namespace vmnat::dataplane {
namespace {

// From an uplink somebody of there; from a VM, by hairpin, one of our own addresses, which it was given.
bool is_remote_credible(const Context& context, const Burst& burst, unsigned i) {
  const net::Ipv4Addr remote = burst.keys[i].remote_endpoint().address;
  if (context.state->is_uplink(burst.ports[i])) return context.is_credible_remote(remote);
  return context.state->is_external(remote);
}

std::optional<DropReason> refusal_to_let_in(const Context& context, const Burst& burst, unsigned i,
                                            NetworkIndex network) {
  if (!is_remote_credible(context, burst, i)) return DropReason::SourceForeign;
  const ParsedPacket& packet = burst.packets[i];
  if (packet.kind == PacketKind::Tcp &&
      !context.conntrack.may_open(net::Protocol::Tcp, packet.tcp_flags, network))
    return DropReason::TcpNotSyn;
  if (ipv4_of(burst.frames[i]).ttl <= 1) return DropReason::TtlExpired;
  return std::nullopt;
}

// nullptr: nobody has asked for it.
const InsideHost* asked_host(const Context& context, const Forward& target) {
  return context.state->networks[target.network].hosts.find(target.to.address.raw());
}

// `to`: the VM's endpoint.
Session* open_session(Context& context, const Burst& burst, unsigned i, const conntrack::InboundFlow& flow,
                      const Forward& to) {
  if (is_later_fragment(burst.packets[i])) {  // an earlier frame of the burst may have opened it
    Session* session = context.conntrack.find(flow.key);
    if (session == nullptr) context.drop(burst.frames[i], burst.ports[i], DropReason::FragmentRefused);
    return session;
  }
  const VmSide vm{flow.vm_port, Direction::Inbound, to.to.port};
  if (const auto refusal = refusal_by_rules(context, burst, i, vm)) {
    refuse(context, burst, i, *refusal);
    return nullptr;
  }
  const conntrack::Opened opened = context.conntrack.open_inbound(flow, to.network, context.now);
  if (opened.session == nullptr) refuse(context, burst, i, reason_of(opened.verdict));
  return opened.session;
}

conntrack::InboundFlow flow_to(const InsideHost& host, const Burst& burst, unsigned i) {
  return {.key = burst.keys[i],
          .forward_to = std::nullopt,
          .vm_port = host.port,
          .mac = host.mac,
          .tcp_flags = burst.packets[i].tcp_flags};
}

Session* session_of_forward(Context& context, const Burst& burst, unsigned i, const Forward& forward) {
  // First of all: the session may be there already. Steering has found the owner of what has no ports.
  const bool is_portless = burst.packets[i].kind == PacketKind::Other;
  const WorkerIndex owner = is_portless ? context.worker : forward_owner(context, forward);
  if (owner != context.worker) {
    hand_over(context, burst.frames[i], burst.ports[i], owner, FrameNote::Errand::Inbound);
    return nullptr;
  }
  const InsideHost* host = asked_host(context, forward);
  auto refusal = refusal_to_let_in(context, burst, i, forward.network);
  if (!refusal && forward.is_draining) refusal = DropReason::NoSession;
  if (!refusal && (host == nullptr || !host->is_resolved())) refusal = DropReason::HostUnresolved;
  if (refusal) {
    refuse(context, burst, i, *refusal);
    return nullptr;
  }
  conntrack::InboundFlow flow = flow_to(*host, burst, i);
  flow.forward_to = forward.to;
  return open_session(context, burst, i, flow, forward);
}

// To a VM whose MAC control may have to ask for.
Session* open_or_ask(Context& context, const Burst& burst, unsigned i, const Forward& target,
                     std::optional<net::Endpoint> forward_to) {
  rte_mbuf* frame = burst.frames[i];
  const InsideHost* host = asked_host(context, target);
  if (host != nullptr && host->is_resolved()) {
    conntrack::InboundFlow flow = flow_to(*host, burst, i);
    flow.forward_to = forward_to;
    return open_session(context, burst, i, flow, target);
  }
  if (host != nullptr && host->is_silent) {
    refuse(context, burst, i, DropReason::HostUnresolved);
    return nullptr;
  }
  // The first fragment waits alone: control knows frames by their ports.
  if (is_later_fragment(burst.packets[i]))
    context.drop(frame, burst.ports[i], DropReason::HostUnresolved);
  else
    context.punt_for_host(frame, burst.ports[i], target.to.address);
  return nullptr;
}

// A VM of a network that is routed, by its own address.
Session* session_of_routed(Context& context, const Burst& burst, unsigned i, const Forward& vm) {
  const bool is_portless = burst.packets[i].kind == PacketKind::Other;
  const WorkerIndex owner = is_portless ? context.worker : forward_owner(context, vm);
  if (owner != context.worker) {
    hand_over(context, burst.frames[i], burst.ports[i], owner, FrameNote::Errand::Inbound);
    return nullptr;
  }
  auto refusal = refusal_to_let_in(context, burst, i, vm.network);
  if (!refusal && burst.packets[i].kind == PacketKind::IcmpReply) refusal = DropReason::NoSession;
  if (!refusal) return open_or_ask(context, burst, i, vm, vm.to);
  refuse(context, burst, i, *refusal);
  return nullptr;
}

// A reply to a VM that is not translated, of whose place steering knew nothing: the session may be another worker's.
// True: the frame has been sent on to it, or to control, which asks for the VM.
bool is_sent_on(Context& context, const Burst& burst, unsigned i, const Forward& vm) {
  const bool is_portless = burst.packets[i].kind == PacketKind::Other;
  if (context.worker_count == 1 || is_portless || is_later_fragment(burst.packets[i])) return false;
  if (const WorkerIndex owner = forward_owner(context, vm); owner != context.worker) {
    hand_over(context, burst.frames[i], burst.ports[i], owner, FrameNote::Errand::Inbound);
    return true;
  }
  if (is_place_known(context, vm)) return false;
  context.punt_for_host(burst.frames[i], burst.ports[i], vm.to.address);
  return true;
}

// Not by another uplink than the one that the network is on.
bool is_networks_way(const ForwardingState& state, NetworkIndex network, PortIndex from) {
  return !state.is_uplink(from) || state.uplink_port(network) == from;
}

// For an address that is not ours: an inside one may be a VM's that is not translated.
Session* session_of_other(Context& context, const Burst& burst, unsigned i) {
  const FlowKey& key = burst.keys[i];
  const Forward vm{key.local_endpoint(), context.state->network_of(key.local_endpoint().address)};
  const bool is_vm = vm.network != kNoNetwork &&
                     context.state->networks[vm.network].has_host(vm.to.address) &&
                     is_networks_way(*context.state, vm.network, burst.ports[i]);
  if (is_vm && context.state->networks[vm.network].is_routed) return session_of_routed(context, burst, i, vm);
  const bool is_exempt =
      is_vm && context.state->is_exempt(vm.network, vm.to.address, key.remote_endpoint().address);
  if (!is_exempt || !is_sent_on(context, burst, i, vm))
    context.drop(burst.frames[i], burst.ports[i], DropReason::NotExternal);
  return nullptr;
}

// Somebody inside has this external endpoint, but no session towards this remote. What the filter keeps out
// is dropped in silence: an error would break what two peers behind NATs open to each other.
Session* session_of_mapping(Context& context, const Burst& burst, unsigned i, const Forward& mapping) {
  if (mapping.network == kNoNetwork || !context.conntrack.admits(burst.keys[i], mapping.network)) {
    context.drop(burst.frames[i], burst.ports[i], DropReason::Filtered);
    return nullptr;
  }
  if (const auto refusal = refusal_to_let_in(context, burst, i, mapping.network)) {
    refuse(context, burst, i, *refusal);
    return nullptr;
  }
  return open_or_ask(context, burst, i, mapping, std::nullopt);
}

// A VM's own external address: whatever opens a session does so, but no reply that nobody has asked for.
Session* session_of_own_address(Context& context, const Burst& burst, unsigned i, const Forward& own) {
  if (burst.packets[i].kind != PacketKind::IcmpReply) return session_of_forward(context, burst, i, own);
  refuse(context, burst, i, DropReason::NoSession);
  return nullptr;
}

// Where an external endpoint of ours leads.
Session* session_of_external(Context& context, const Burst& burst, unsigned i) {
  const FlowKey& key = burst.keys[i];
  if (const auto forward =
          context.state->forward_of(key.local_endpoint(), key.protocol(), key.remote_endpoint().address))
    return session_of_forward(context, burst, i, *forward);
  if (const auto own = context.state->forward_by_pair(key.local_endpoint()))
    return session_of_own_address(context, burst, i, *own);
  const auto internal = context.conntrack.mapped_internal(key.local_endpoint(), key.protocol());
  if (internal)
    return session_of_mapping(context, burst, i, {*internal, context.state->network_of(internal->address)});
  refuse(context, burst, i, DropReason::NoSession);
  return nullptr;
}

}  // namespace

Session* open_inbound_flow(Context& context, Burst& burst, unsigned i) {
  rte_mbuf* frame = burst.frames[i];
  const ForwardingState& state = *context.state;
  const PortIndex from = burst.ports[i];
  const net::Ipv4Addr address = burst.keys[i].local_endpoint().address;
  if (burst.packets[i].kind == PacketKind::IcmpError) {
    if (Session* session = translate_icmp_error<Direction::Inbound>(context, burst, i))
      deliver_inbound(context, Burst::of(frame, from, session));
  } else if (is_for_dhcp_client(context, frame, burst.packets[i], from))
    context.punt(frame, from, PuntReason::UplinkDhcp);
  else if (state.is_uplink(from) && !state.uplinks[from].has_address())
    context.drop(frame, from, DropReason::NoUplinkAddress);
  else if (!state.is_external(address))
    return session_of_other(context, burst, i);
  else if (!state.is_external_at(address, from))
    context.drop(frame, from, DropReason::NotExternal);
  else if (is_for_prober(context, burst, i))
    context.punt(frame, from, PuntReason::ProbeReply);
  else if (is_echo_request(frame, burst.packets[i]) && state.is_gateways(address))
    answer_echo(context, frame, burst.packets[i], from);
  else
    return session_of_external(context, burst, i);
  return nullptr;
}

}  // namespace vmnat::dataplane
