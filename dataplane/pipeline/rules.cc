// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/rules.h"

#include "dataplane/observe/watch.h"

namespace vmnat::dataplane {
namespace {

void note_decision(Context& context, rte_mbuf* frame, const RuleEvent& event) {
  const FilterRules& rules = *context.state->rules;
  const FilterRule& rule = rules.table().rule(event.rule);
  rule.account->add(context.worker, frame->pkt_len);
  if (rule.is_logged) rules.events(context.worker).add(event);
  if (Watch* watch = context.counters.watch; watch != nullptr && watch->traces())
    watch->see_rule(frame, event.port, rule.name, static_cast<std::uint8_t>(rule.action));
}

}  // namespace

std::uint8_t icmp_type_of(rte_mbuf* frame, const ParsedPacket& packet) {
  switch (packet.kind) {
    case PacketKind::IcmpRequest:
    case PacketKind::IcmpReply:
    case PacketKind::IcmpError:
      return static_cast<std::uint8_t>(l4_of<net::IcmpHeader>(frame, packet).type);
    default:
      return 0;
  }
}

std::optional<DropReason> refusal_of_side(Context& context, rte_mbuf* frame, PortIndex port,
                                          Direction direction, const FlowSide& side) {
  const Judgement judgement = context.state->rules->judge(port, direction, side);
  if (judgement.rule != kNoRule)
    note_decision(context, frame,
                  {.rule = judgement.rule,
                   .port = port,
                   .direction = direction,
                   .is_ipv4 = side.is_ipv4,
                   .protocol = side.protocol,
                   .icmp_type = side.icmp_type,
                   .remote = side.remote,
                   .local_port = side.local_port,
                   .remote_port = side.remote_port});
  switch (judgement.action) {
    case RuleAction::Accept:
      break;
    case RuleAction::Drop:
      return DropReason::Rule;
    case RuleAction::Reject:
      return DropReason::RuleReject;
  }
  return std::nullopt;
}

// One that an earlier frame of the burst has opened needs no other judgement.
std::optional<DropReason> refusal_by_rules(Context& context, const Burst& burst, unsigned i,
                                           const VmSide& vm) {
  if (context.state->rules == nullptr || !context.state->rules->has_rules(vm.port)) return std::nullopt;
  const FlowKey& key = burst.keys[i];
  if (context.conntrack.find(key) != nullptr) return std::nullopt;
  const FlowSide side{.protocol = key.protocol(),
                      .icmp_type = icmp_type_of(burst.frames[i], burst.packets[i]),
                      .local_port = vm.local_port,
                      .remote_port = key.remote_endpoint().port,
                      .remote = key.remote_endpoint().address};
  return refusal_of_side(context, burst.frames[i], vm.port, vm.direction, side);
}

}  // namespace vmnat::dataplane
