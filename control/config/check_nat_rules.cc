// SPDX-License-Identifier: Apache-2.0
// Checks of nat.rules: whom they are about, and that their addresses make pools: a rule has all addresses of another
// pool of its network, or none of them.
#include <algorithm>
#include <set>

#include "control/config/check.h"

namespace vmnat::config {
namespace {

using net::to_string;

constexpr std::size_t kMostRules = 128;  // of a network; each new flow asks one after the other

// A list of external addresses, and where it stands.
struct Pool {
  std::string path;
  std::vector<AddressRange> ranges;
};

// Of ranges that do not overlap among themselves.
std::set<net::Ipv4Addr> addresses_of(const Pool& pool) {
  const auto all = all_of(pool.ranges);
  return {all.begin(), all.end()};
}

// The first address that both have, if they do not have all.
std::optional<net::Ipv4Addr> shared_in_part(const Pool& one, const Pool& other) {
  const auto ours = addresses_of(one), theirs = addresses_of(other);
  if (ours == theirs) return std::nullopt;
  const auto shared =
      std::ranges::find_if(ours, [&](net::Ipv4Addr address) { return theirs.contains(address); });
  return shared == ours.end() ? std::nullopt : std::optional{*shared};
}

// A misread range may be anything.
bool is_well_read(const Pool& pool) {
  std::uint64_t total = 0;
  for (const AddressRange& range : pool.ranges) {
    if (range == AddressRange{}) return false;
    total += range.size();
  }
  return total <= kMostExternalAddresses;
}

void check_from(const Network& network, const NatRule& rule, const std::string& path, Findings& findings) {
  if (rule.from && !rule.from->overlaps(network.address))
    findings.complain_at(path, "from: " + address_block_text(*rule.from) + " has no address of network '" +
                                   network.name + "' (" + to_string(network.address) + ")");
}

void check_addresses(const Config& config, const Pool& pool, Findings& findings) {
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < pool.ranges.size(); ++i) {
    const std::string at = indexed(pool.path, i);
    if (!findings.has(at)) continue;
    total += pool.ranges[i].size();
    check_external_range(pool.ranges[i], config, at, findings);
    for (std::size_t earlier = 0; earlier < i; ++earlier)
      if (findings.has(indexed(pool.path, earlier)) && pool.ranges[i].overlaps(pool.ranges[earlier]))
        findings.complain_at(
            at, "addresses: " + to_text(pool.ranges[i]) + " overlaps " + to_text(pool.ranges[earlier]));
  }
  if (total > kMostExternalAddresses)
    findings.complain_at(indexed(pool.path, 0),
                         "addresses: at most 4096 are possible, these are " + std::to_string(total));
}

void check_against(const Pool& pool, const std::vector<Pool>& others, Findings& findings) {
  if (!is_well_read(pool)) return;
  for (const Pool& other : others) {
    if (!is_well_read(other)) continue;
    const auto shared = shared_in_part(pool, other);
    if (!shared) continue;
    const Position at = findings.marks.at(indexed(pool.path, 0));
    const auto where = findings.marks.find(indexed(other.path, 0));
    return findings.complain(
        at, "addresses: " + to_string(*shared) + " is in another pool of this network, too" +
                (where == findings.marks.end() ? "" : ", " + findings.place(where->second, at)) +
                ": a rule has all addresses of it, or none");
  }
}

void check_egress_rules(const Config& config, std::size_t n, Findings& findings) {
  const Network& network = config.networks[n];
  const std::string path = network_path(n) + ".nat";
  std::vector<Pool> pools{{path + ".addresses", network.nat.addresses}};
  for (std::size_t i = 0; i < network.nat.rules.size(); ++i) {
    const NatRule& rule = network.nat.rules[i];
    const std::string at = indexed(path + ".rules", i);
    if (findings.has(network_path(n) + ".address")) check_from(network, rule, at + ".from", findings);
    if (rule.addresses.empty()) continue;
    const Pool pool{at + ".addresses", rule.addresses};
    check_addresses(config, pool, findings);
    check_against(pool, pools, findings);
    pools.push_back(pool);
  }
  if (network.nat.rules.size() > kMostRules)
    findings.complain(findings.marks.at(indexed(path + ".rules", kMostRules)),
                      "rules: at most " + std::to_string(kMostRules) + "; this one is too many");
}

}  // namespace

void check_nat_rules(const Config& config, Findings& findings) {
  for (std::size_t n = 0; n < config.networks.size(); ++n) check_egress_rules(config, n, findings);
}

}  // namespace vmnat::config
