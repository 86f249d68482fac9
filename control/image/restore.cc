// SPDX-License-Identifier: Apache-2.0
#include "control/image/restore.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace vmnat::control {
namespace {

using conntrack::Conntrack;
using conntrack::Former;
using conntrack::Revival;
using conntrack::Session;
using dataplane::ForwardingState;

constexpr std::size_t kReadAtOnce = 4096;  // records; 256 KiB, which stay in the cache

// By former number: the number of the same name today.
template <typename Index>
std::vector<std::optional<Index>> renumbered(const std::vector<std::string>& former,
                                             const std::vector<std::string>& today) {
  std::unordered_map<std::string_view, Index> numbers;
  for (std::size_t i = 0; i < today.size(); ++i) numbers.emplace(today[i], static_cast<Index>(i));
  std::vector<std::optional<Index>> renumbered;
  for (const std::string& name : former) {
    const auto found = name.empty() ? numbers.end() : numbers.find(name);
    renumbered.push_back(found == numbers.end() ? std::nullopt : std::optional{found->second});
  }
  return renumbered;
}

template <typename Index>
std::optional<Index> at(const std::vector<std::optional<Index>>& numbers, std::size_t former) {
  return former < numbers.size() ? numbers[former] : std::nullopt;
}

// Records are used in order, and a record that was used is never blank again.
bool is_blank(const Session& record) {
  static const Session kBlank;
  return std::memcmp(&record, &kBlank, sizeof record) == 0;
}

}  // namespace

Restore::Restore(const SessionNames& former, const Today& today,
                 std::span<const std::unique_ptr<Conntrack>> tables)
    : today_(today),
      tables_(tables),
      ports_(renumbered<PortIndex>(former.ports, today.names.ports)),
      networks_(renumbered<NetworkIndex>(former.networks, today.names.networks)),
      read_(kReadAtOnce),
      bursts_(tables.size()),
      given_(tables.size()) {
  for (auto& [listener, rules] : listeners_of(today.forwards))
    forwards_.emplace(ForwardingState::forward_word(listener.first, listener.second), std::move(rules));
  for (auto& burst : bursts_) burst.reserve(Conntrack::kMaxBurst);
}

conntrack::Revivals Restore::run(const FormerImage& image, Time now) {
  now_ = now;
  for (const auto& table : tables_) table->begin_restore();
  for (unsigned worker = 0; worker < image.header().workers; ++worker) read_worker(image, worker);
  for (std::size_t worker = 0; worker < tables_.size(); ++worker) enter(static_cast<WorkerIndex>(worker));
  for (const auto& table : tables_) table->end_restore();
  return counts_;
}

void Restore::read_worker(const FormerImage& image, unsigned worker) {
  for (std::uint32_t first = 0;;) {
    const std::span records(read_.data(), image.read(worker, first, read_));
    if (std::ranges::all_of(records, is_blank)) return;  // no records, too
    give_pages(records.size());
    for (const Session& record : records) consider(record);
    first += static_cast<std::uint32_t>(records.size());
  }
}

// To so many records that may come. Touched one by one pages would be small ones, which is slower now, and later as well.
void Restore::give_pages(std::size_t count) {
  for (std::size_t worker = 0; worker < tables_.size(); ++worker) {
    const conntrack::Extent records = tables_[worker]->touched_soon().front();
    const std::size_t wanted =
        std::min((tables_[worker]->high_water() + count) * sizeof(Session), records.bytes);
    for (std::size_t& given = given_[worker]; given < wanted; given += kHugePage)
      conntrack::populate_pages(records.start + given, std::min(kHugePage, records.bytes - given));
  }
}

void Restore::consider(const Session& record) {
  if (!record.in_use() && !record.is_torn()) return;
  Former former{.record = record};
  const Revival revival = translate(former);
  if (revival != Revival::Restored) {
    ++counts_[static_cast<unsigned>(revival)];
    return;
  }
  const WorkerIndex worker = worker_of(former);
  bursts_[worker].push_back(former);
  if (bursts_[worker].size() == Conntrack::kMaxBurst) enter(worker);
}

void Restore::enter(WorkerIndex worker) {
  tables_[worker]->restore(bursts_[worker], now_, counts_);
  bursts_[worker].clear();
}

Revival Restore::translate(Former& former) const {
  const Session& record = former.record;
  const ForwardingState& state = today_.state;
  if (record.is_torn()) return Revival::Torn;
  if (!record.is_sound()) return Revival::Damaged;
  const auto network = at(networks_, record.policy());
  if (!network || !state.networks[*network].has_way_out) return Revival::NoNetwork;
  const auto port = at(ports_, record.vm_port());
  if (!port || state.ports[*port].network != *network) return Revival::NoPort;
  const net::Ipv4Addr remote = record.remote().address;
  if (!state.networks[*network].has_host(record.internal().address) || !remote.is_forwarded() ||
      state.network_of(remote) != dataplane::kNoNetwork)
    return Revival::NotInside;
  former.policy = *network;
  former.vm_port = *port;
  former.is_forwarded = is_forwarded(record, *network);
  return Revival::Restored;
}

bool Restore::is_forwarded(const Session& record, NetworkIndex network) const {
  if (record.is_untranslated())
    return today_.state.is_exempt(network, record.internal().address, record.remote().address);
  if (const auto* pair = today_.state.pair_at(record.external().address))
    return pair->network == network && pair->internal == record.internal().address &&
           record.external().port == record.internal().port;
  if (forwards_.empty()) return false;
  const auto found = forwards_.find(ForwardingState::forward_word(record.external(), record.protocol()));
  if (found == forwards_.end() || found->second.network != network) return false;
  return dataplane::server_by(found->second.rules, record.remote().address) == record.internal();
}

// All sessions of a forward to one VM are one worker's, whatever their records say of the VM's port: no port block keeps
// two workers from having the same external endpoint.
WorkerIndex Restore::worker_of(const Former& former) {
  if (tables_.size() == 1) return 0;
  const Session& record = former.record;
  if (conntrack::port_space(record.protocol()) == conntrack::PortSpace::None)
    return today_.external_ports.portless_owner(record.remote().address);
  const WorkerIndex worker =
      today_.state.inside_owner(former.vm_port, record.internal(), static_cast<unsigned>(tables_.size()));
  const bool keeps_ports =
      record.is_untranslated() || today_.state.pair_at(record.external().address) != nullptr;
  if (!former.is_forwarded || keeps_ports) return worker;  // one an endpoint
  const std::uint64_t forward = ForwardingState::forward_word(record.external(), record.protocol());
  return workers_of_forwards_.try_emplace({forward, record.internal()}, worker).first->second;
}

void keep_owners(const SessionNames& former, GatewayPlan& plan) {
  for (std::size_t i = config::uplink_count(plan.config); i < plan.ports.size(); ++i) {
    const auto found = std::ranges::find(former.ports, plan.ports[i].name);
    const auto number = static_cast<std::size_t>(found - former.ports.begin());
    if (number >= former.owners.size() || former.owners[number] >= plan.worker_count) continue;
    plan.ports[i].owner = former.owners[number];
  }
  unite_owners(plan.config, plan.worker_count, plan.ports);
}

void keep_ways(const SessionNames& former, GatewayPlan& plan) {
  const NetworkWays preferred = plan.ways;
  for (std::size_t i = 0; i < plan.ways.size(); ++i) {
    const auto network = std::ranges::find(former.networks, plan.config.networks[i].name);
    const auto number = static_cast<std::size_t>(network - former.networks.begin());
    if (network == former.networks.end() || number >= former.uplinks.size()) continue;
    for (std::size_t uplink = 0; uplink < plan.config.uplinks.size(); ++uplink)
      if (plan.config.uplinks[uplink].name == former.uplinks[number])
        plan.ways[i] = static_cast<PortIndex>(uplink);
  }
  if (plan.ways != preferred) plan.nat = plan_nat(plan.config, nullptr, plan.ways);
}

std::string to_string(const conntrack::Revivals& counts) {
  std::vector<std::string> reasons;
  std::uint64_t lost = 0;
  for (std::size_t i = 1; i < counts.size(); ++i) {
    lost += counts[i];
    if (counts[i] != 0) reasons.push_back(fmt::format("{} {}", counts[i], conntrack::kRevivalNames[i]));
  }
  std::string text = fmt::format("{} sessions go on", counts[0]);
  if (lost != 0) text += fmt::format(", {} do not: {}", lost, fmt::join(reasons, ", "));
  return text;
}

}  // namespace vmnat::control
