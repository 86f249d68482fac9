// SPDX-License-Identifier: Apache-2.0
// Rules: whether the rules of a VM's port let a flow begin (filter_rules.h). Cold, one frame at a time: a frame whose
// session is there is not asked about, and where nobody has rules there is a test of a pointer for each new flow.
//
//   dropped    drop.rule, in silence
//   rejected   drop.rule_reject; TCP gets a RST, all else an ICMP error, administratively prohibited (refuse.h)
//
// What the gateway answers itself (ARP, DHCP, ping, DNS) and what is between a VM and the host are no matter of rules.
#pragma once

#include <optional>

#include "dataplane/context/context.h"
#include "dataplane/context/filter_rules.h"

namespace vmnat::dataplane {

// The VM that a flow is of, and what of it the frame does not say.
struct VmSide {
  PortIndex port = 0;
  Direction direction{};
  net::L4Port local_port;  // as the VM knows it
};

// The reason to refuse frame i of the burst, which is about to open a session of this VM.
[[gnu::cold]] std::optional<DropReason> refusal_by_rules(Context& context, const Burst& burst, unsigned i,
                                                         const VmSide& vm);

// The same of a flow that is known already. The rule that has decided is counted for the frame, and told to those
// who want to know.
[[gnu::cold]] std::optional<DropReason> refusal_of_side(Context& context, rte_mbuf* frame, PortIndex port,
                                                        Direction direction, const FlowSide& side);

// Of a whole ICMP message; 0 of all else.
std::uint8_t icmp_type_of(rte_mbuf* frame, const ParsedPacket& packet);

}  // namespace vmnat::dataplane
