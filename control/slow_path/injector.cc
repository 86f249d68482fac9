// SPDX-License-Identifier: Apache-2.0
#include "control/slow_path/injector.h"

#include <rte_mbuf.h>

#include "dataplane/frame/new_frame.h"
#include "net/wire.h"

namespace vmnat::control {

using dataplane::FrameNote;
using dataplane::kUplinkPort;

namespace {

// That frames for the address come by: an external one, or of a network that is not translated.
PortIndex way_in(const dataplane::ForwardingState& state, net::Ipv4Addr address) {
  if (const auto network = state.network_of(address); network != dataplane::kNoNetwork)
    return state.uplink_port(network);
  return state.first_uplink_of(address).value_or(kUplinkPort);
}

}  // namespace

void Injector::transmit(std::span<const std::byte> frame, PortIndex port) {
  if (!ports_[port].exists) return;  // it has left meanwhile
  push(frame, {.port = port, .from = port}, ports_[port].owner);
}

void Injector::look_up_again(std::span<const std::byte> frame) {
  const auto* ip = net::view<net::Ipv4Header>(frame, sizeof(net::EthernetHeader));
  if (ip == nullptr) return;
  const auto* udp = net::view<net::UdpHeader>(
      frame, sizeof(net::EthernetHeader) + ip->header_length());  // or TCP: its ports
  if (udp == nullptr) return;
  const dataplane::ForwardingState& state = states_.current();
  const auto external = state.external_addresses->index_of(ip->destination);
  WorkerIndex owner =
      external_ports_.portless_owner(ip->source);  // not translated: it hands on what has ports
  if (external)
    owner = external_ports_.owner(*external, udp->destination_port);
  else if (!state.is_shown_outside(ip->destination))
    return;
  if (owner == kNoWorker) return;
  push(frame, {.port = way_in(state, ip->destination), .errand = FrameNote::Errand::Inbound}, owner);
}

void Injector::return_unreachable(const Neighbors::Unreachable& unreachable, dataplane::DropReason reason) {
  if (!ports_[unreachable.port].exists) return;
  push(unreachable.frame,
       {.port = unreachable.port, .errand = FrameNote::Errand::Unreachable, .reason = reason},
       ports_[unreachable.port].owner);
}

void Injector::push(std::span<const std::byte> frame, const FrameNote& note, WorkerIndex worker) {
  rte_mbuf* buffer = dataplane::new_frame(frame, pool_);
  if (buffer != nullptr) {
    dataplane::note_of(buffer) = note;
    if (rings_[worker].inject.push(buffer)) return rings_[worker].doorbell->ring();
  }
  rte_pktmbuf_free(buffer);
  ++dropped_;
}

}  // namespace vmnat::control
