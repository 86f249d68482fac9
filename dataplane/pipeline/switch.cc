// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/switch.h"

#include <optional>
#include <rte_ether.h>

#include "dataplane/detours/local.h"
#include "dataplane/pipeline/guard.h"
#include "dataplane/pipeline/host.h"
#include "dataplane/pipeline/peers.h"

namespace vmnat::dataplane {
namespace {

bool is_arp_request_for(rte_mbuf* frame, const ParsedPacket& packet, net::Ipv4Addr address) {
  return packet.kind == PacketKind::Arp && arp_of(frame).op() == net::ArpOperation::Request &&
         arp_of(frame).target_address == address;
}

void report(Context& context, const LearnedMac& learned) {
  if (!context.punt_budgets.take_learned(learned.port, context.now) || !context.rings.learn.push(learned))
    return context.counters.learn_missed.add(1);
  context.rings.wake_control();
}

// Control hears what it says of its sender; the frame goes on.
[[gnu::cold]] void tell_of_arp(Context& context, rte_mbuf* frame, PortIndex from) {
  report(context, {arp_of(frame).sender_mac, from, arp_of(frame).sender_address});
}

void punt_arp_reply(Context& context, rte_mbuf* frame, PortIndex from) {
  trim(frame, kShortestFrame);
  context.punt(frame, from, PuntReason::ArpReply);
}

void punt_packet(Context& context, rte_mbuf* frame, PortIndex from, PuntReason reason) {
  trim_to_packet(frame);
  context.punt(frame, from, reason);
}

// From a host that control asks for.
bool is_awaited_reply(rte_mbuf* frame, const Network& network) {
  const net::ArpPacket& arp = arp_of(frame);
  return arp.op() == net::ArpOperation::Reply && !arp.sender_address.is_unspecified() &&
         (network.awaits_arp || network.hosts.find(arp.sender_address.raw()) != nullptr);
}

// RFC 826: of a host that control asks for, any ARP packet says where it is.
bool is_news_of_host(rte_mbuf* frame, const Network& network) {
  const InsideHost* host = network.hosts.find(arp_of(frame).sender_address.raw());
  return host != nullptr && host->mac != arp_of(frame).sender_mac;
}

// Tells control where a MAC address lives, unless everybody knows already.
void learn(Context& context, const Port& port, PortIndex from, net::MacAddr mac) {
  if (mac == port.usual_mac) return;
  const PortIndex* known = context.state->networks[port.network].macs.find(mac.as_word());
  if (known != nullptr && *known == from) return;
  report(context, {mac, from});
}

// False: the frame came in another's name, and ended here.
[[gnu::noinline]] bool admit_sender(Context& context, const Port& port, rte_mbuf* frame,
                                    const ParsedPacket& packet, PortIndex from) {
  if (const auto refusal = refusal_of_sender(*context.state, from, frame, packet)) {
    const Network& network = context.state->networks[port.network];
    if (packet.kind == PacketKind::Arp && arp_of(frame).sender_address == network.gateway.address)
      tell_of_arp(context, frame, from);
    context.drop(frame, from, *refusal);
    return false;
  }
  learn(context, port, from, ethernet_of(frame).source);
  return true;
}

// A frame of a routable kind that is for other VMs. False: it ended here.
[[gnu::noinline]] bool admit_service(Context& context, rte_mbuf* frame, PortIndex from) {
  const auto refusal = refusal_of_service(*context.state, from, frame);
  if (refusal) context.drop(frame, from, *refusal);
  return !refusal;
}

// What bridges keep to themselves, whatever port it came by (IEEE 802.1Q 8.6.3, IEEE 802.3 annex 31B).
bool is_between_bridges(const net::EthernetHeader& ethernet) {
  return ethernet.destination.is_reserved_group() || ethernet.ether_type() == net::EtherType::MacControl;
}

void send_copy(Context& context, rte_mbuf* frame, PortIndex from, PortIndex to) {
  context.counters.count_made(&WorkerCounters::flood_copies, from, 1);
  if (rte_mbuf* copy = rte_pktmbuf_copy(frame, frame->pool, 0, UINT32_MAX))
    context.transmitter.send(*context.state, copy, from, to);
  else
    context.counters.count_drop(frame, from, DropReason::NoBuffer, to);
}

enum class Host : std::uint8_t { LeftOut, Among };
struct Receivers {
  const Network& network;
  Host host;
};

// Who does not get a copy of a flood, and why; nothing: it does.
std::optional<DropReason> refusal_of_copy(Context& context, const Burst& burst, unsigned i, PortIndex to) {
  const Port& port = context.state->ports[to];
  if (!context.state->are_in_one_group(burst.ports[i], to)) return DropReason::IsolatedPorts;
  if (port.has_rules && !is_copy_let_in(context, burst, i, to)) return DropReason::Rule;
  return std::nullopt;
}

// A copy for every port but the one it came from that `refusal_of(port)` says nothing against; the last port gets the
// frame itself.
template <typename RefusalOf>
void flood(Context& context, const Receivers& to, rte_mbuf* frame, PortIndex from, RefusalOf refusal_of) {
  if (!context.take_flood(from, frame->pkt_len)) return context.drop(frame, from, DropReason::FloodBudget);
  const PortIndex* pending = nullptr;  // one port behind, so that the last one is known
  DropReason unless_sent = DropReason::NoListener;
  const auto add = [&](const PortIndex& port) {
    if (port == from || !context.state->ports[port].up) return;
    if (const std::optional<DropReason> refusal = refusal_of(port)) {
      unless_sent = *refusal;
      return;
    }
    if (pending != nullptr) send_copy(context, frame, from, *pending);
    pending = &port;
  };
  for (const PortIndex& port : to.network.ports) add(port);
  if (to.host == Host::Among) add(to.network.host.port);
  if (pending == nullptr) return context.drop(frame, from, unless_sent);
  context.transmitter.send(*context.state, frame, from, *pending);
}

// To the VMs of the sender's group whose rules accept it.
void flood_from_vm(Context& context, const Receivers& receivers, Burst& burst, unsigned i) {
  const PortIndex from = burst.ports[i];
  if (context.state->ports[from].has_rules && !is_let_out(context, burst, i)) return;
  flood(context, receivers, burst.frames[i], from,
        [&](PortIndex to) { return refusal_of_copy(context, burst, i, to); });
}

void switch_group(Context& context, const Network& network, Burst& burst, unsigned i) {
  rte_mbuf* frame = burst.frames[i];
  const ParsedPacket& packet = burst.packets[i];
  const PortIndex from = burst.ports[i];
  if (packet.kind == PacketKind::Arp && is_news_of_host(frame, network)) tell_of_arp(context, frame, from);
  if (is_arp_request_for(frame, packet, network.gateway.address))
    return answer_arp(context, frame, from, network.mac);
  if (network.dhcp && is_dhcp_request(frame, packet))
    return punt_packet(context, frame, from, PuntReason::Dhcp);
  const bool is_hosts = is_group_for_host(network, frame, packet);
  if (!context.state->ports[from].is_alone)
    return flood_from_vm(context, {network, is_hosts ? Host::Among : Host::LeftOut}, burst, i);
  if (!is_hosts) return context.drop(frame, from, DropReason::IsolatedPorts);
  context.transmitter.send(*context.state, frame, from, network.host.port);
}

void switch_unicast(Context& context, const Network& network, Burst& burst, unsigned i) {
  rte_mbuf* frame = burst.frames[i];
  const PortIndex from = burst.ports[i];
  const ForwardingState& state = *context.state;
  if (state.ports[from].is_alone) return context.drop(frame, from, DropReason::IsolatedPorts);
  const PortIndex* to = network.macs.find(ethernet_of(frame).destination.as_word());
  if (to == nullptr) return flood_from_vm(context, {network, Host::LeftOut}, burst, i);
  if (*to == from) return context.drop(frame, from, DropReason::SamePort);
  if (!state.are_in_one_group(from, *to)) return context.drop(frame, from, DropReason::IsolatedPorts);
  if (state.ports[from].has_rules || state.ports[*to].has_rules) return pass_to_peer(context, burst, i, *to);
  context.transmitter.send(state, frame, from, *to);
}

// ARP for the gateway's own MAC.
void accept_arp_inside(Context& context, const Network& network, rte_mbuf* frame, const ParsedPacket& packet,
                       PortIndex from) {
  const bool is_news = is_news_of_host(frame, network);
  if (is_arp_request_for(frame, packet, network.gateway.address)) {
    if (is_news) tell_of_arp(context, frame, from);
    return answer_arp(context, frame, from, network.mac);
  }
  const bool is_hosts = network.host.is_there() && arp_of(frame).op() == net::ArpOperation::Reply;
  if (!is_news && !is_awaited_reply(frame, network))
    return is_hosts ? context.transmitter.send(*context.state, frame, from, network.host.port)
                    : context.drop(frame, from, DropReason::ArpUnasked);
  if (is_hosts) send_copy(context, frame, from, network.host.port);
  punt_arp_reply(context, frame, from);
}

// A frame for the gateway's own MAC: true when it is to be routed, else it ended here.
bool accept_for_gateway(Context& context, const Network& network, rte_mbuf* frame, const ParsedPacket& packet,
                        PortIndex from) {
  switch (packet.kind) {
    case PacketKind::Unroutable:
      context.drop(frame, from, packet.fault);
      return false;
    case PacketKind::Arp:
      accept_arp_inside(context, network, frame, packet, from);
      return false;
    default:
      trim_to_packet(frame);
      return true;
  }
}

// A kernel interface hands a tag over beside its frame, which would lose it. False: the frame ended here.
[[gnu::cold]] bool restore_tag(Context& context, rte_mbuf* frame, PortIndex from) {
  if ((frame->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) == 0 || rte_vlan_insert(&frame) == 0) return true;
  context.drop(frame, from, DropReason::VlanTagged);
  return false;
}

// True when frame i stays in the burst.
bool switch_frame(Context& context, const Port& port, Burst& burst, unsigned i) {
  rte_mbuf* frame = burst.frames[i];
  const ParsedPacket& packet = burst.packets[i];
  const PortIndex from = burst.ports[i];
  if (packet.kind == PacketKind::Unroutable && packet.fault == DropReason::Runt) {
    context.drop(frame, from, DropReason::Runt);
    return false;
  }
  const net::EthernetHeader& ethernet = ethernet_of(frame);
  if (ethernet.source.is_group() || ethernet.source.is_zero()) {
    context.drop(frame, from, DropReason::SourceMac);
    return false;
  }
  const Network& network = context.state->networks[port.network];
  if (!is_usual_sender(network, port, frame, packet) && !admit_sender(context, port, frame, packet, from))
    return false;
  if (ethernet.destination == network.mac) return accept_for_gateway(context, network, frame, packet, from);
  if (is_between_bridges(ethernet)) {
    context.drop(frame, from, DropReason::ReservedGroup);
    return false;
  }
  if (may_be_service(frame, packet) && !admit_service(context, frame, from)) return false;
  if (packet.kind == PacketKind::Unroutable && !restore_tag(context, frame, from)) return false;
  if (ethernet_of(frame).destination.is_group())
    switch_group(context, network, burst, i);
  else
    switch_unicast(context, network, burst, i);
  return false;
}

// What control has to hear of ARP on the uplink's link, in a request as in a reply, to whomever: answers to
// what it asks, that one whom it knows has another MAC (RFC 826), and that another station has or is about to
// take an address of ours (RFC 5227 sections 2.1.1 and 2.4).
bool concerns_control(const Context& context, rte_mbuf* frame, PortIndex from) {
  const net::ArpPacket& arp = arp_of(frame);
  const Uplink& uplink = context.state->uplinks[from];
  const bool is_reply = arp.op() == net::ArpOperation::Reply;
  if (arp.sender_mac == uplink.mac || (!is_reply && arp.op() != net::ArpOperation::Request)) return false;
  if (is_reply && ethernet_of(frame).destination == uplink.mac) return true;
  const net::Ipv4Addr sender = arp.sender_address;
  if (sender.is_unspecified())  // a probe
    return uplink.checked_address == arp.target_address && !arp.target_address.is_unspecified();
  if (sender == uplink.checked_address || context.state->is_external_at(sender, from)) return true;
  const net::MacAddr* known = uplink.asked_mac(sender);
  return known != nullptr && (is_reply || *known != arp.sender_mac);
}

void accept_arp(Context& context, rte_mbuf* frame, PortIndex from) {
  const net::ArpPacket& arp = arp_of(frame);
  const bool is_heard = concerns_control(context, frame, from);
  if (arp.op() == net::ArpOperation::Request && context.state->is_own_address(arp.target_address, from)) {
    if (is_heard) tell_of_arp(context, frame, from);
    return answer_arp(context, frame, from, context.state->uplinks[from].mac);
  }
  if (is_heard) return punt_arp_reply(context, frame, from);
  context.drop(frame, from, DropReason::ArpUnasked);
}

// RFC 2131 section 4.1: a server may broadcast what it says to a client without an address.
[[gnu::cold]] void accept_broadcast(Context& context, rte_mbuf* frame, const ParsedPacket& packet,
                                    PortIndex from) {
  if (ethernet_of(frame).destination == net::kBroadcastMac &&
      is_for_dhcp_client(context, frame, packet, from))
    return punt_packet(context, frame, from, PuntReason::UplinkDhcp);
  context.drop(frame, from, DropReason::NotForUs);
}

bool accept_frame(Context& context, rte_mbuf* frame, const ParsedPacket& packet, PortIndex from) {
  if (packet.kind == PacketKind::Arp) {
    accept_arp(context, frame, from);
    return false;
  }
  if (packet.kind == PacketKind::Unroutable) {
    context.drop(frame, from, packet.fault);
    return false;
  }
  if (ethernet_of(frame).destination != context.state->uplinks[from].mac) {
    accept_broadcast(context, frame, packet, from);
    return false;
  }
  trim_to_packet(frame);
  return true;
}

}  // namespace

void send_from_host(Context& context, const Network& network, rte_mbuf* frame, PortIndex from) {
  const net::MacAddr destination = ethernet_of(frame).destination;
  const PortIndex* to = destination.is_group() ? nullptr : network.macs.find(destination.as_word());
  if (to == nullptr)
    return flood(context, {network, Host::LeftOut}, frame, from,
                 [](PortIndex) { return std::optional<DropReason>{}; });
  if (*to == from) return context.drop(frame, from, DropReason::SamePort);
  context.transmitter.send(*context.state, frame, from, *to);
}

void switch_inside(Context& context, Burst& burst) {
  burst.keep_if([&](unsigned i) {
    const PortIndex from = burst.ports[i];
    const Port& port = context.state->ports[from];
    if (port.is_host) return switch_from_host(context, burst, i), false;
    return switch_frame(context, port, burst, i);
  });
}

void accept_uplink(Context& context, Burst& burst) {
  burst.keep_if(
      [&](unsigned i) { return accept_frame(context, burst.frames[i], burst.packets[i], burst.ports[i]); });
}

}  // namespace vmnat::dataplane
