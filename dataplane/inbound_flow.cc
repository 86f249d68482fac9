// SPDX-License-Identifier: Apache-2.0
#include "dataplane/inbound_flow.h"

#include "dataplane/icmp_error.h"
#include "dataplane/local.h"
#include "dataplane/look_up.h"
#include "dataplane/new_flow.h"
#include "dataplane/refuse.h"

namespace vmnat::dataplane {
namespace {

// Somebody inside has this external endpoint, but not towards this remote: a filter that lets nothing in is
// silent, for an error would break what two peers behind NATs open to each other (RFC 4787 section 5).
bool is_mapped(const Context& context, const FlowKey& inbound) {
  return context.conntrack.mapped_internal(inbound.local_endpoint(), inbound.protocol()).has_value();
}

const InsideHost* host_of(const Context& context, const Forward& forward) {
  return context.state->networks[forward.network].hosts.find(forward.to.address.raw());
}

std::optional<DropReason> refusal_to_forward_to(const Context& context, const Burst& burst, unsigned i,
                                                const InsideHost* host) {
  if (!is_credible_remote(context, burst.keys[i].remote_endpoint().address)) return DropReason::SourceForeign;
  if (host == nullptr || !host->is_resolved()) return DropReason::HostUnresolved;
  if (ipv4_of(burst.frames[i]).ttl <= 1) return DropReason::TtlExpired;
  return std::nullopt;
}

Session* session_of_forward(Context& context, const Burst& burst, unsigned i, const Forward& forward) {
  const InsideHost* host = host_of(context, forward);
  if (const auto refusal = refusal_to_forward_to(context, burst, i, host)) {
    refuse(context, burst, i, *refusal);
    return nullptr;
  }
  if (const WorkerIndex owner = forward_owner(context, forward); owner != context.worker) {
    hand_over<Direction::Inbound>(context, burst.frames[i], burst.port, owner);
    return nullptr;
  }
  const conntrack::InboundFlow flow{.key = burst.keys[i],
                                    .forward_to = forward.to,
                                    .port = host->port,
                                    .mac = host->mac,
                                    .tcp_flags = burst.packets[i].tcp_flags};
  const conntrack::Opened opened = context.conntrack.open_inbound(flow, forward.network, context.now);
  if (opened.session == nullptr) refuse(context, burst, i, reason_of(opened.verdict));
  return opened.session;
}

}  // namespace

bool is_credible_remote(const Context& context, net::Ipv4Addr remote) {
  const ForwardingState& state = *context.state;
  const net::Ipv4Prefix& link = state.uplink.address;
  if (link.contains(remote) && (remote == link.first() || remote == link.broadcast())) return false;
  const std::uint32_t high = remote.host() >> 24;
  const bool is_one_host = high != 0 && high != 127 && high < 224;
  return is_one_host && state.network_of(remote) == kNoNetwork && !context.external_ports.index_of(remote);
}

WorkerIndex forward_owner(const Context& context, const Forward& forward) {
  const InsideHost* host = host_of(context, forward);
  return host == nullptr || !host->is_resolved() ? context.worker : context.state->ports[host->port].owner;
}

template <>
Session* session_after_miss<Direction::Inbound>(Context& context, Burst& burst, unsigned i) {
  rte_mbuf* frame = burst.frames[i];
  const FlowKey& key = burst.keys[i];
  if (burst.packets[i].kind == PacketKind::IcmpError)
    pass_icmp_error<Direction::Inbound>(context, burst, i);
  else if (!context.external_ports.index_of(key.local_endpoint().address))
    context.drop(frame, burst.port, DropReason::NotExternal);
  else if (is_echo_request(frame, burst.packets[i]))
    answer_echo(context, frame, burst.packets[i], burst.port);
  else if (const Forward* forward = context.state->forward_of(key.local_endpoint(), key.protocol()))
    return session_of_forward(context, burst, i, *forward);
  else if (is_mapped(context, key))
    context.drop(frame, burst.port, DropReason::NoSession);
  else
    refuse(context, burst, i, DropReason::NoSession);
  return nullptr;
}

}  // namespace vmnat::dataplane
