// SPDX-License-Identifier: Apache-2.0
// Telling listeners. Nothing of it runs while there are none.
#include "conntrack/conntrack.h"

namespace vmnat::conntrack {

SessionEvent event_of(EventKind kind, const VmBlock& block, net::Ipv4Addr external, Time when) {
  return {.kind = kind,
          .block_ports = block.ports(),
          .when = when,
          .session = {.internal = {block.internal, {}},
                      .external = {external, block.first_port()},
                      .policy = block.policy,
                      .vm_port = block.vm_port}};
}

SessionView Conntrack::view(const Session& copy) const {
  return {.internal = copy.internal(),
          .external = copy.external(),
          .remote = copy.remote(),
          .protocol = copy.protocol(),
          .state = copy.state(),
          .policy = copy.policy(),
          .vm_port = copy.vm_port(),
          .last_seen = copy.last_seen(),
          .expires = copy.last_seen() + timeout_of(copy),
          .packets_out = copy.packets(Direction::Outbound),
          .packets_in = copy.packets(Direction::Inbound),
          .bytes_out = copy.bytes(Direction::Outbound),
          .bytes_in = copy.bytes(Direction::Inbound)};
}

void Conntrack::tell_listeners(EventKind kind, const Session& session, Time now) {
  const bool is_in_block = port_space(session.protocol()) != PortSpace::None &&
                           pool_.is_of_vm(*addresses_->index_of(session.external().address),
                                          session.external().port.host() / kBlockPorts);
  for (const auto& ring : *listeners_)
    if (ring->wants(kind, is_in_block))
      ring->add({.kind = kind, .mac = session.internal_mac(), .when = now, .session = view(session)});
}

void Conntrack::tell_listeners(EventKind kind, const VmBlock& block, Time now) {
  const SessionEvent event = event_of(kind, block, addresses_->address(block.external), now);
  for (const auto& ring : *listeners_)
    if (ring->wants(kind, true)) ring->add(event);
}

}  // namespace vmnat::conntrack
