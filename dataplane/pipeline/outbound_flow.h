// SPDX-License-Identifier: Apache-2.0
// New flow: what becomes of a frame without a session. Cold, one frame at a time: all policy lives here.
//
// Because a session opens only for a frame that passed every check, frames that hit one need no policy:
// only what may change from frame to frame (TTL, size, the VM's place) is looked at again. What a frame from
// the uplink may open is in inbound_flow.h.
#pragma once

#include <optional>

#include "base/ids.h"
#include "dataplane/pipeline/oversize.h"

namespace vmnat::dataplane {

// The session for frame i of the burst, opened if policy allows; or nullptr, and the frame has ended:
// answered by the gateway, punted, or dropped with the reason.
template <Direction direction>
[[gnu::cold]] Session* session_after_miss(Context& context, Burst& burst, unsigned i);

// Why conntrack has opened no session.
[[gnu::cold]] DropReason reason_of(conntrack::Verdict verdict);

// Why a frame exceeds the uplink's MTU: it is too big, or there is no way out at all.
[[gnu::cold]] DropReason reason_of_mtu(const Uplink& uplink);

// Why a frame with a session cannot go on, if it cannot. A session is found by either of its keys: a VM that
// sends from the external endpoint, and a remote that sends to the internal one, find it from the wrong side.
template <Direction direction>
std::optional<DropReason> refusal_to_forward(Context& context, Burst& burst, unsigned i);

// A VM's frame came by another port or MAC than its session knows: the session follows the VM within its
// network. False when the port is of another network: somebody else's address.
[[gnu::cold]] bool follow_vm(Context& context, Session& session, PortIndex from, net::MacAddr mac);

template <>
inline std::optional<DropReason> refusal_to_forward<Direction::Outbound>(Context& context, Burst& burst,
                                                                         unsigned i) {
  Session& session = *burst.sessions[i];
  const net::MacAddr mac = ethernet_of(burst.frames[i]).source;
  if (!session.is_from_inside(burst.keys[i])) return DropReason::SourceForeign;
  if (!session.is_at(burst.port, mac) && !follow_vm(context, session, burst.port, mac))
    return DropReason::SourceForeign;
  if (ipv4_of(burst.frames[i]).ttl <= 1) return DropReason::TtlExpired;  // RFC 1812 5.3.1
  if (burst.packets[i].total_length > context.state->uplink.mtu)
    return context.state->uplink.has_address() ? refusal_of_oversize(burst, i, context.state->uplink.mtu)
                                               : DropReason::NoUplinkAddress;
  return std::nullopt;
}

template <>
inline std::optional<DropReason> refusal_to_forward<Direction::Inbound>(Context& context, Burst& burst,
                                                                        unsigned i) {
  if (burst.sessions[i]->is_from_inside(burst.keys[i])) return DropReason::NotExternal;
  if (ipv4_of(burst.frames[i]).ttl <= 1) return DropReason::TtlExpired;
  const std::uint16_t length = burst.packets[i].total_length;
  if (length <= context.state->smallest_mtu) return std::nullopt;
  const std::uint16_t mtu = context.state->egress_mtu(burst.sessions[i]->vm_port());
  return length > mtu ? refusal_of_oversize(burst, i, mtu) : std::nullopt;
}

}  // namespace vmnat::dataplane
