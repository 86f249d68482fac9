// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/look_up.h"

#include <array>
#include <span>

#include "dataplane/detours/refuse.h"
#include "dataplane/pipeline/inbound_flow.h"
#include "dataplane/pipeline/outbound_flow.h"
#include "dataplane/pipeline/oversize.h"

namespace vmnat::dataplane {
namespace {

// Fetches the memory that opening will need, for frames from `first` on that may open a session: all those of one
// network. Returns the first frame of the next one.
unsigned prefetch_openings(Context& context, Burst& burst, unsigned first) {
  std::array<conntrack::OutboundFlow, kBurstSize> flows;
  std::array<std::uint8_t, kBurstSize> frames;
  const NetworkIndex network = context.state->ports[burst.ports[first]].network;
  unsigned count = 0;
  unsigned i = first;
  for (; i < burst.count && context.state->ports[burst.ports[i]].network == network; ++i) {
    if (burst.sessions[i] != nullptr) continue;
    flows[count].key = burst.keys[i];
    frames[count++] = static_cast<std::uint8_t>(i);
  }
  context.conntrack.prefetch_open(std::span{flows}.first(count), network);
  for (unsigned at = 0; at < count; ++at) burst.probable_ports[frames[at]] = flows[at].probable_port;
  return i;
}

// Each missing session is opened, or its frame ends.
template <Direction direction>
[[gnu::cold]] void open_missed(Context& context, Burst& burst) {
  StageClock clock(context.counters.stages);
  unsigned missed = 0;
  if constexpr (direction == Direction::Outbound)
    for (unsigned next = 0; next < burst.count;) next = prefetch_openings(context, burst, next);
  context.conntrack.spare(std::span{burst.sessions, burst.count});
  for (unsigned i = 0; i < burst.count; ++i) {
    if (burst.sessions[i] != nullptr) continue;
    burst.sessions[i] = direction == Direction::Outbound ? open_outbound_flow(context, burst, i)
                                                         : open_inbound_flow(context, burst, i);
    ++missed;
  }
  context.conntrack.spare({});
  clock.lap(Stage::NewFlow, missed);
}

// A VM's frame came by another port or MAC than its session knows: the session follows the VM within its
// network. False when the port is of another network: the address is somebody else's.
[[gnu::cold]] bool follow_vm(Context& context, Session& session, PortIndex from, net::MacAddr mac) {
  const ForwardingState& state = *context.state;
  if (state.ports[session.vm_port()].network != state.ports[from].network) return false;
  context.conntrack.move_to(session, from, mac);
  return true;
}

// A session is found by either of its keys: a VM that sends from the external endpoint finds it from the
// wrong side. `only_uplink`: null, if there are several.
std::optional<DropReason> refusal_to_send(Context& context, Burst& burst, unsigned i,
                                          const Uplink* only_uplink) {
  Session& session = *burst.sessions[i];
  const net::MacAddr& mac = ethernet_of(burst.frames[i]).source;
  if (!session.is_from_inside(burst.keys[i])) return DropReason::SourceForeign;
  if (!session.is_at(burst.ports[i], mac) && !follow_vm(context, session, burst.ports[i], mac))
    return DropReason::SourceForeign;
  if (ipv4_of(burst.frames[i]).ttl <= 1) return DropReason::TtlExpired;  // RFC 1812 5.3.1
  if (only_uplink == nullptr && context.state->is_left_behind(session)) return DropReason::NotExternal;
  const Uplink& uplink = only_uplink != nullptr ? *only_uplink : context.state->uplink_of(session.policy());
  if (burst.packets[i].total_length > uplink.mtu)
    return uplink.has_address() ? refusal_of_oversize(burst, i, uplink.mtu) : DropReason::NoUplinkAddress;
  return std::nullopt;
}

// From the wrong side: a remote that sends to the internal endpoint, which it does not know.
std::optional<DropReason> refusal_to_deliver(const Context& context, Burst& burst, unsigned i) {
  const Session& session = *burst.sessions[i];
  if (session.is_from_inside(burst.keys[i]) && !session.is_untranslated()) return DropReason::NotExternal;
  if (!context.state->comes_by(session, burst.ports[i])) return DropReason::NotExternal;
  if (ipv4_of(burst.frames[i]).ttl <= 1) return DropReason::TtlExpired;
  const std::uint16_t length = burst.packets[i].total_length;
  if (length <= context.state->smallest_mtu) return std::nullopt;
  const std::uint16_t mtu = context.state->egress_mtu(session.vm_port());
  return length > mtu ? refusal_of_oversize(burst, i, mtu) : std::nullopt;
}

}  // namespace

template <Direction direction>
void look_up(Context& context, Burst& burst) {
  if (context.conntrack.find_burst(std::span{burst.keys, burst.count}, burst.sessions) < burst.count)
    open_missed<direction>(context, burst);
  const ForwardingState& state = *context.state;
  const Uplink* const only_uplink = state.uplink_count == 1 ? &state.uplinks[kUplinkPort] : nullptr;
  burst.keep_if([&](unsigned i) {
    if (burst.sessions[i] == nullptr) return false;  // the frame ended in open_missed
    const auto refusal = direction == Direction::Outbound ? refusal_to_send(context, burst, i, only_uplink)
                                                          : refusal_to_deliver(context, burst, i);
    if (refusal) refuse(context, burst, i, *refusal);
    return !refusal;
  });
}

template void look_up<Direction::Outbound>(Context&, Burst&);
template void look_up<Direction::Inbound>(Context&, Burst&);

}  // namespace vmnat::dataplane
