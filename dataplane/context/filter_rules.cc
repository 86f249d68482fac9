// SPDX-License-Identifier: Apache-2.0
// The look-up: what runs once a flow.
#include "dataplane/context/filter_rules.h"

#include <rte_acl.h>

#include "dataplane/context/rule_key.h"

namespace vmnat::dataplane {

RuleNumber RuleTable::first_match(ListNumber first, ListNumber second, const FlowSide& side) const {
  if (context_ == nullptr) return kNoRule;
  std::array<RuleKey, 2> keys;
  std::array<const std::uint8_t*, 2> starts{};
  std::array<std::uint32_t, 2> found{};
  unsigned count = 0;
  for (const ListNumber list : {first, second}) {
    if (list == kNoList) continue;
    keys[count] = RuleKey::of(list, side);
    starts[count] = &keys[count].protocol;
    ++count;
  }
  if (count == 0) return kNoRule;
  rte_acl_classify(context_, starts.data(), found.data(), count, 1);
  for (const std::uint32_t one : found)
    if (one != 0) return one - 1;
  return kNoRule;
}

Judgement FilterRules::judge(PortIndex port, Direction direction, const FlowSide& side) const {
  if (!has_rules(port)) return {};
  const PortRules& of = ports_[port];
  const auto way = static_cast<std::size_t>(direction);
  RuleNumber rule = table_->first_match(of.own[way], of.network[way], side);
  if (rule == kNoRule) rule = of.otherwise[way];
  return rule == kNoRule ? Judgement{} : Judgement{table_->rule(rule).action, rule};
}

bool FilterRules::accepts(const conntrack::Session& session) const {
  const FlowSide side{.protocol = session.protocol(),
                      .icmp_type = static_cast<std::uint8_t>(net::IcmpType::EchoRequest),
                      .local_port = session.internal().port,
                      .remote_port = session.remote().port,
                      .remote = session.remote().address};
  return judge(session.vm_port(), session.opener(), side).action == RuleAction::Accept;
}

}  // namespace vmnat::dataplane
