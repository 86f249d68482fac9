// SPDX-License-Identifier: Apache-2.0
#include "control/devices/nic_steering.h"

#include <algorithm>
#include <fmt/format.h>
#include <rte_ethdev.h>
#include <rte_flow.h>
#include <system_error>

#include "control/result.h"

namespace vmnat::control {
namespace {

constexpr std::uint64_t kPortHashes = RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV4_UDP;
constexpr unsigned kGroup = RTE_ETH_RETA_GROUP_SIZE;
constexpr unsigned kUsualKeyBytes = 40;  // rte_eth_rss_conf: of drivers that do not say

tl::unexpected<Error> failure(const char* what, int status) {
  return tl::unexpected(
      Error{"", fmt::format("{}: {}", what, std::generic_category().message(std::abs(status)))});
}

struct RssSettings {
  std::vector<std::uint8_t> key;
  std::vector<std::uint16_t> table;
  std::uint64_t hashes = 0;  // RTE_ETH_RSS_*

  [[nodiscard]] bool has(const RssSettings& wanted) const {
    return key == wanted.key && table == wanted.table && (hashes & wanted.hashes) == wanted.hashes;
  }
};

using TableGroups = std::vector<rte_eth_rss_reta_entry64>;

// All entries of a table of this size are meant.
TableGroups groups_of(std::size_t table_size) {
  TableGroups groups((table_size + kGroup - 1) / kGroup);
  for (std::size_t entry = 0; entry < table_size; ++entry)
    groups[entry / kGroup].mask |= std::uint64_t{1} << entry % kGroup;
  return groups;
}

Result<RssSettings> read_rss(std::uint16_t port_id, unsigned key_bytes, unsigned table_size) {
  RssSettings settings{.key = std::vector<std::uint8_t>(key_bytes)};
  rte_eth_rss_conf conf{.rss_key = settings.key.data(),
                        .rss_key_len = static_cast<std::uint8_t>(key_bytes),
                        .rss_hf = kPortHashes};
  if (const int status = rte_eth_dev_rss_hash_conf_get(port_id, &conf); status != 0)
    return failure("its key cannot be read", status);
  settings.hashes = conf.rss_hf;
  TableGroups groups = groups_of(table_size);
  if (const int status =
          rte_eth_dev_rss_reta_query(port_id, groups.data(), static_cast<std::uint16_t>(table_size));
      status != 0)
    return failure("its table cannot be read", status);
  for (unsigned entry = 0; entry < table_size; ++entry)
    settings.table.push_back(groups[entry / kGroup].reta[entry % kGroup]);
  return settings;
}

Result<void> write_rss(std::uint16_t port_id, RssSettings settings) {
  rte_eth_rss_conf conf{.rss_key = settings.key.data(),
                        .rss_key_len = static_cast<std::uint8_t>(settings.key.size()),
                        .rss_hf = settings.hashes};
  if (const int status = rte_eth_dev_rss_hash_update(port_id, &conf); status != 0)
    return failure("it does not take the key", status);
  TableGroups groups = groups_of(settings.table.size());
  for (std::size_t entry = 0; entry < settings.table.size(); ++entry)
    groups[entry / kGroup].reta[entry % kGroup] = settings.table[entry];
  if (const int status = rte_eth_dev_rss_reta_update(port_id, groups.data(),
                                                     static_cast<std::uint16_t>(settings.table.size()));
      status != 0)
    return failure("it does not take the table", status);
  return {};
}

Result<void> write_and_verify(std::uint16_t port_id, const RssSettings& wanted) {
  if (auto written = write_rss(port_id, wanted); !written) return written;
  const auto taken =
      read_rss(port_id, static_cast<unsigned>(wanted.key.size()), static_cast<unsigned>(wanted.table.size()));
  if (!taken) return tl::unexpected(taken.error());
  if (!taken->has(wanted)) return tl::unexpected(Error{"", "it does not keep what it is given"});
  return {};
}

Result<NicSteering> steer_by_rss(std::uint16_t port_id, unsigned queue_count, unsigned table_capacity) {
  rte_eth_dev_info info{};
  if (const int status = rte_eth_dev_info_get(port_id, &info); status != 0)
    return failure("it does not say what it can do", status);
  const std::uint64_t hashes = info.flow_type_rss_offloads & kPortHashes;
  if (hashes == 0) return tl::unexpected(Error{"", "it has none on ports"});
  const unsigned key_bytes = info.hash_key_size == 0 ? kUsualKeyBytes : info.hash_key_size;
  const auto before = read_rss(port_id, key_bytes, info.reta_size);
  if (!before) return tl::unexpected(before.error());
  Result<void> steered = tl::unexpected(Error{"", "its table or key has no fitting size"});
  for (const unsigned table_size : {table_capacity, unsigned{info.reta_size}}) {
    auto plan = plan_rss(key_bytes, table_size, queue_count);
    if (!plan) continue;
    steered = write_and_verify(
        port_id, {.key = std::move(plan->key), .table = std::move(plan->table), .hashes = hashes});
    if (!steered) continue;
    return NicSteering{
        .way = SteeringWay::Rss,
        .queues = std::move(plan->queues),
        .details = fmt::format("by its RSS on the destination port, {} table entries{}", table_size,
                               hashes == kPortHashes                    ? ""
                               : hashes == RTE_ETH_RSS_NONFRAG_IPV4_TCP ? ", TCP alone"
                                                                        : ", UDP alone")};
  }
  static_cast<void>(write_rss(port_id, *before));  // a device that fails here, too, does not steer, but works
  return tl::unexpected(steered.error());
}

// A rule in DPDK's terms: Ethernet, IPv4, ports.
class DpdkRule {
 public:
  explicit DpdkRule(const FlowRule& rule) : queue_{.index = rule.queue} {
    const bool is_tcp = rule.protocol == net::Protocol::Tcp;
    const auto port = rte_cpu_to_be_16(rule.port), mask = rte_cpu_to_be_16(rule.mask);
    tcp_[0].hdr.dst_port = udp_[0].hdr.dst_port = port;
    tcp_[1].hdr.dst_port = udp_[1].hdr.dst_port = mask;
    pattern_[0].type = RTE_FLOW_ITEM_TYPE_ETH;
    pattern_[1].type = RTE_FLOW_ITEM_TYPE_IPV4;
    pattern_[2].type = is_tcp ? RTE_FLOW_ITEM_TYPE_TCP : RTE_FLOW_ITEM_TYPE_UDP;
    pattern_[2].spec = is_tcp ? static_cast<const void*>(&tcp_[0]) : &udp_[0];
    pattern_[2].mask = is_tcp ? static_cast<const void*>(&tcp_[1]) : &udp_[1];
    pattern_[3].type = RTE_FLOW_ITEM_TYPE_END;
    actions_[0] = {.type = RTE_FLOW_ACTION_TYPE_QUEUE, .conf = &queue_};
    actions_[1].type = RTE_FLOW_ACTION_TYPE_END;
    attributes_.ingress = 1;
  }
  ~DpdkRule() = default;
  DpdkRule(const DpdkRule&) = delete;
  DpdkRule& operator=(const DpdkRule&) = delete;

  [[nodiscard]] Result<void> validate(std::uint16_t port_id) const {
    rte_flow_error error{};
    const int status = rte_flow_validate(port_id, &attributes_, pattern_, actions_, &error);
    if (status != 0) return failure(text_of(error), status);
    return {};
  }
  [[nodiscard]] Result<rte_flow*> create(std::uint16_t port_id) const {
    rte_flow_error error{};
    rte_flow* flow = rte_flow_create(port_id, &attributes_, pattern_, actions_, &error);
    if (flow == nullptr) return failure(text_of(error), rte_errno);
    return flow;
  }

 private:
  static const char* text_of(const rte_flow_error& error) {
    return error.message == nullptr ? "it does not take them" : error.message;
  }
  rte_flow_attr attributes_{};
  rte_flow_item_tcp tcp_[2]{};  // value, mask
  rte_flow_item_udp udp_[2]{};
  rte_flow_item pattern_[4]{};
  rte_flow_action_queue queue_{};
  rte_flow_action actions_[2]{};
};

// All or none: with half of the rules a port's replies would go where its worker is not.
Result<NicSteering> steer_by_flow_rules(std::uint16_t port_id, unsigned queue_count) {
  FlowRulePlan plan = plan_flow_rules(queue_count);
  for (const FlowRule& rule : plan.rules)
    if (auto valid = DpdkRule(rule).validate(port_id); !valid) return tl::unexpected(valid.error());
  std::vector<rte_flow*> flows;
  for (const FlowRule& rule : plan.rules) {
    auto flow = DpdkRule(rule).create(port_id);
    if (flow) {
      flows.push_back(*flow);
      continue;
    }
    rte_flow_error error{};
    for (rte_flow* made : flows) rte_flow_destroy(port_id, made, &error);
    return tl::unexpected(flow.error());
  }
  return NicSteering{.way = SteeringWay::FlowRules,
                     .queues = std::move(plan.queues),
                     .details = fmt::format("by {} flow rules on the destination port", plan.rules.size())};
}

}  // namespace

const char* to_word(SteeringWay way) {
  switch (way) {
    case SteeringWay::Rss:
      return "rss";
    case SteeringWay::FlowRules:
      return "flow_rules";
    case SteeringWay::Fanout:
      return "fanout";
    case SteeringWay::Rings:
      break;
  }
  return "rings";
}

NicSteering steer_replies(std::uint16_t port_id, unsigned queue_count, unsigned table_capacity) {
  if (queue_count < 2) return {.details = "the uplink has one queue"};
  auto by_rss = steer_by_rss(port_id, queue_count, table_capacity);
  if (by_rss) return std::move(*by_rss);
  auto by_rules = steer_by_flow_rules(port_id, queue_count);
  if (by_rules) return std::move(*by_rules);
  return {.details = fmt::format("the uplink's RSS: {}; flow rules: {}", by_rss.error().what,
                                 by_rules.error().what)};
}

}  // namespace vmnat::control
