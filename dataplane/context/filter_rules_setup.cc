// SPDX-License-Identifier: Apache-2.0
// Control makes rules: the context of librte_acl, accounts, rings of events.
#include <cstdio>
#include <rte_acl.h>
#include <rte_memory.h>
#include <utility>

#include "dataplane/context/filter_rules.h"
#include "dataplane/context/rule_key.h"

namespace vmnat::dataplane {
namespace {

enum Field : std::uint8_t { kProtocol, kList, kPeer, kRemote, kLocalPort, kRemotePort, kFields };
RTE_ACL_RULE_DEF(AclRule, kFields);

constexpr std::uint32_t kFirstPriority = RTE_ACL_MAX_PRIORITY;

constexpr rte_acl_field_def field_at(Field field, std::uint8_t type, std::uint8_t size, std::uint8_t input,
                                     std::size_t offset) {
  return {.type = type,
          .size = size,
          .field_index = field,
          .input_index = input,
          .offset = static_cast<std::uint32_t>(offset)};
}

rte_acl_config config_of_fields() {
  rte_acl_config config{};
  config.num_categories = 1;
  config.num_fields = kFields;
  config.defs[kProtocol] = field_at(kProtocol, RTE_ACL_FIELD_TYPE_BITMASK, 1, 0, offsetof(RuleKey, protocol));
  config.defs[kList] = field_at(kList, RTE_ACL_FIELD_TYPE_MASK, 2, 1, offsetof(RuleKey, list));
  config.defs[kPeer] = field_at(kPeer, RTE_ACL_FIELD_TYPE_BITMASK, 2, 1, offsetof(RuleKey, peer));
  config.defs[kRemote] = field_at(kRemote, RTE_ACL_FIELD_TYPE_MASK, 4, 2, offsetof(RuleKey, remote));
  config.defs[kLocalPort] =
      field_at(kLocalPort, RTE_ACL_FIELD_TYPE_RANGE, 2, 3, offsetof(RuleKey, local_port));
  config.defs[kRemotePort] =
      field_at(kRemotePort, RTE_ACL_FIELD_TYPE_RANGE, 2, 3, offsetof(RuleKey, remote_port));
  return config;
}

// Whatever is asked of more than the peer is asked of IPv4.
std::pair<std::uint16_t, std::uint16_t> peer_and_mask(const RuleMatch& match) {
  const bool is_of_ipv4 = match.protocol || match.remote;
  const std::uint16_t ipv4 = is_of_ipv4 ? RuleKey::kNoIpv4 : std::uint16_t{0};
  if (!match.peer) return {std::uint16_t{0}, ipv4};
  if (*match.peer == kAllPeers)
    return {RuleKey::kIsPeer, static_cast<std::uint16_t>(RuleKey::kIsPeer | ipv4)};
  return {static_cast<std::uint16_t>(RuleKey::kIsPeer | *match.peer),
          static_cast<std::uint16_t>(RuleKey::kIsPeer | RuleKey::kPeerPort | ipv4)};
}

void set_range(rte_acl_field& field, const std::optional<RuleMatch::Ports>& ports) {
  const RuleMatch::Ports range = ports.value_or(RuleMatch::Ports{});
  field.value.u16 = range.first;
  field.mask_range.u16 = range.last;
}

// `number` is also its place: those before it go first.
AclRule acl_rule(const RuleMatch& match, ListNumber list, RuleNumber number) {
  AclRule rule{};
  rule.data = {.category_mask = 1,
               .priority = static_cast<std::int32_t>(kFirstPriority - number),
               .userdata = number + 1};
  rule.field[kProtocol].value.u8 = match.protocol ? static_cast<std::uint8_t>(*match.protocol) : 0;
  rule.field[kProtocol].mask_range.u8 = match.protocol ? 0xff : 0;
  rule.field[kList].value.u16 = list;
  rule.field[kList].mask_range.u32 = 16;
  const auto [peer, mask] = peer_and_mask(match);
  rule.field[kPeer].value.u16 = peer;
  rule.field[kPeer].mask_range.u16 = mask;
  if (match.remote) rule.field[kRemote].value.u32 = match.remote->first().host();
  rule.field[kRemote].mask_range.u32 = match.remote ? match.remote->length : 0;
  auto local_ports = match.local_ports;
  if (match.icmp_type) local_ports = RuleMatch::Ports{*match.icmp_type, *match.icmp_type};
  set_range(rule.field[kLocalPort], local_ports);
  set_range(rule.field[kRemotePort], match.remote_ports);
  return rule;
}

// librte_acl's contexts have names; this one is nobody else's meanwhile.
rte_acl_ctx* new_context(const void* of, std::size_t rules) {
  char name[RTE_ACL_NAMESIZE];
  std::snprintf(name, sizeof name, "rules_%p", of);
  const rte_acl_param param{.name = name,
                            .socket_id = SOCKET_ID_ANY,
                            .rule_size = RTE_ACL_RULE_SZ(kFields),
                            .max_rule_num = static_cast<std::uint32_t>(rules)};
  return rte_acl_create(&param);
}

}  // namespace

RuleAccount::RuleAccount(unsigned workers) : workers_(workers), shares_(std::make_unique<Share[]>(workers)) {}

std::shared_ptr<const RuleTable> RuleTable::build(const std::vector<RuleList>& lists) {
  std::shared_ptr<RuleTable> table(new RuleTable);
  if (!table->fill(lists)) return nullptr;
  return table;
}

bool RuleTable::fill(const std::vector<RuleList>& lists) {
  std::vector<AclRule> acl;
  otherwise_.push_back(kNoRule);  // of kNoList
  for (const RuleList& list : lists) {
    const auto number = static_cast<ListNumber>(otherwise_.size());
    for (const FilterRule& rule : list.rules) {
      acl.push_back(acl_rule(rule.match, number, static_cast<RuleNumber>(rules_.size())));
      rules_.push_back(rule);
    }
    otherwise_.push_back(list.otherwise ? static_cast<RuleNumber>(rules_.size()) : kNoRule);
    if (list.otherwise) rules_.push_back(*list.otherwise);
  }
  if (acl.empty()) return true;
  context_ = new_context(this, acl.size());
  const rte_acl_config config = config_of_fields();
  static_assert(sizeof(AclRule) == RTE_ACL_RULE_SZ(kFields));
  return context_ != nullptr &&
         rte_acl_add_rules(context_, static_cast<const rte_acl_rule*>(static_cast<const void*>(acl.data())),
                           static_cast<std::uint32_t>(acl.size())) == 0 &&
         rte_acl_build(context_, &config) == 0;
}

RuleTable::~RuleTable() {
  rte_acl_free(context_);
}

FilterRules::FilterRules(std::shared_ptr<const RuleTable> table, std::vector<PortRules> ports,
                         std::uint16_t epoch, unsigned workers)
    : table_(std::move(table)),
      ports_(std::move(ports)),
      epoch_(epoch),
      workers_(workers),
      events_(std::make_unique<RuleEvents[]>(workers)) {}

}  // namespace vmnat::dataplane
