// SPDX-License-Identifier: Apache-2.0
// Each key has one row: how to read it, and how to print it if a reload may change it.
#include "control/config/reload.h"

#include <array>
#include <fmt/format.h>

#include "control/config/values.h"

namespace vmnat::control {
namespace {

using config::Config;
using config::Network;

template <typename Section>
struct FixedKey {
  std::string_view key;
  bool (*differs)(const Section&, const Section&);
};
template <typename Section>
struct LiveKey {
  std::string_view key;
  bool (*differs)(const Section&, const Section&);
  std::string (*value)(const Section&);  // null: too long for a sentence
};

// clang-format off
#define VMNAT_FIXED(section, key, member) \
  FixedKey<section>{key, [](const section& a, const section& b) { return !(a.member == b.member); }}
#define VMNAT_LIVE(section, key, member, text) \
  LiveKey<section>{key, [](const section& a, const section& b) { return !(a.member == b.member); }, text}
// clang-format on

constexpr std::array kFixed{
    VMNAT_FIXED(Config, "dataplane.workers", dataplane.workers),
    VMNAT_FIXED(Config, "dataplane.control_cpu", dataplane.control_cpu),
    VMNAT_FIXED(Config, "dataplane.memory", dataplane.memory),
    VMNAT_FIXED(Config, "dataplane.hugepages", dataplane.hugepages),
    VMNAT_FIXED(Config, "dataplane.idle", dataplane.idle),
    VMNAT_FIXED(Config, "dataplane.eal", dataplane.eal),
    VMNAT_FIXED(Config, "uplink.device", uplink.device),
    VMNAT_FIXED(Config, "uplink.address", uplink.address),
    VMNAT_FIXED(Config, "uplink.gateway", uplink.gateway),
    VMNAT_FIXED(Config, "uplink.mac", uplink.mac),
    VMNAT_FIXED(Config, "uplink.mtu", uplink.mtu),
    VMNAT_FIXED(Config, "uplink.queues", uplink.queues),
    VMNAT_FIXED(Config, "conntrack.sessions", conntrack.sessions),
    VMNAT_FIXED(Config, "control.socket", control.socket),
    VMNAT_FIXED(Config, "control.metrics", control.metrics),
    VMNAT_FIXED(Config, "control.state_dir", control.state_dir),
};

constexpr std::array kFixedOfANetwork{
    VMNAT_FIXED(Network, "address", address),
    VMNAT_FIXED(Network, "mac", mac),
    VMNAT_FIXED(Network, "mtu", mtu),
    VMNAT_FIXED(Network, "forward", forward),
    VMNAT_FIXED(Network, "isolated_ports", isolated_ports),
    VMNAT_FIXED(Network, "ports", ports),
    VMNAT_FIXED(Network, "dhcp", dhcp.has_value()),
    VMNAT_FIXED(Network, "nat.addresses", nat.addresses),
    VMNAT_FIXED(Network, "nat.ports", nat.ports),
    VMNAT_FIXED(Network, "nat.reserved_ports", nat.reserved_ports),
    VMNAT_FIXED(Network, "nat.filtering", nat.filtering),
    VMNAT_FIXED(Network, "nat.forwards", nat.forwards),
};

constexpr std::array kLiveOfANetwork{
    VMNAT_LIVE(Network, "nat.mapping", nat.mapping,
               [](const Network& n) { return std::string(config::to_word(n.nat.mapping)); }),
    VMNAT_LIVE(Network, "nat.overload", nat.overload,
               [](const Network& n) { return fmt::format("{}", n.nat.overload); }),
    VMNAT_LIVE(Network, "nat.tcp_mid_stream", nat.tcp_mid_stream,
               [](const Network& n) { return std::string(config::to_word(n.nat.tcp_mid_stream)); }),
    VMNAT_LIVE(Network, "nat.mss_clamp", nat.mss_clamp,
               [](const Network& n) {
                 if (!n.nat.mss_clamp) return std::string("auto");
                 return n.nat.mss_clamp == 0 ? std::string("off") : fmt::format("{}", *n.nat.mss_clamp);
               }),
    VMNAT_LIVE(Network, "nat.exhaustion_icmp", nat.exhaustion_icmp,
               [](const Network& n) { return std::string(config::to_word(n.nat.exhaustion_icmp)); }),
    VMNAT_LIVE(Network, "nat.timeouts.tcp_established", nat.timeouts.tcp_established,
               [](const Network& n) { return config::to_text(n.nat.timeouts.tcp_established); }),
    VMNAT_LIVE(Network, "nat.timeouts.tcp_transitory", nat.timeouts.tcp_transitory,
               [](const Network& n) { return config::to_text(n.nat.timeouts.tcp_transitory); }),
    VMNAT_LIVE(Network, "nat.timeouts.udp", nat.timeouts.udp,
               [](const Network& n) { return config::to_text(n.nat.timeouts.udp); }),
    VMNAT_LIVE(Network, "nat.timeouts.udp_answered", nat.timeouts.udp_answered,
               [](const Network& n) { return config::to_text(n.nat.timeouts.udp_answered); }),
    VMNAT_LIVE(Network, "nat.timeouts.icmp", nat.timeouts.icmp,
               [](const Network& n) { return config::to_text(n.nat.timeouts.icmp); }),
    VMNAT_LIVE(Network, "nat.timeouts.other", nat.timeouts.other,
               [](const Network& n) { return config::to_text(n.nat.timeouts.other); }),
    VMNAT_LIVE(Network, "nat.limits.sessions_per_port", nat.limits.sessions_per_port,
               [](const Network& n) { return fmt::format("{}", n.nat.limits.sessions_per_port); }),
    VMNAT_LIVE(Network, "nat.limits.new_sessions_per_second", nat.limits.new_sessions_per_second,
               [](const Network& n) { return fmt::format("{}", n.nat.limits.new_sessions_per_second); }),
};

// Of networks that have DHCP before and after.
using config::Dhcp;
constexpr std::array kLiveOfDhcp{
    VMNAT_LIVE(Dhcp, "dhcp.ranges", ranges, nullptr),
    VMNAT_LIVE(Dhcp, "dhcp.lease_time", lease_time,
               [](const Dhcp& d) { return config::to_text(d.lease_time); }),
    LiveKey<Dhcp>{
        "dhcp.dns",
        [](const Dhcp& a, const Dhcp& b) { return a.dns != b.dns || a.dns_is_default != b.dns_is_default; },
        nullptr},
    VMNAT_LIVE(Dhcp, "dhcp.domain", domain, nullptr),
    VMNAT_LIVE(Dhcp, "dhcp.search", search, nullptr),
    VMNAT_LIVE(Dhcp, "dhcp.ntp", ntp, nullptr),
    VMNAT_LIVE(Dhcp, "dhcp.routes", routes, nullptr),
    VMNAT_LIVE(Dhcp, "dhcp.boot", boot, nullptr),
    VMNAT_LIVE(Dhcp, "dhcp.options", options, nullptr),
    VMNAT_LIVE(Dhcp, "dhcp.reservations", reservations, nullptr),
    VMNAT_LIVE(Dhcp, "dhcp.identity", identity,
               [](const Dhcp& d) { return std::string(config::to_word(d.identity)); }),
    VMNAT_LIVE(Dhcp, "dhcp.check_before_offer", check_before_offer,
               [](const Dhcp& d) { return fmt::format("{}", d.check_before_offer); }),
    VMNAT_LIVE(Dhcp, "dhcp.limits", limits, nullptr),
    VMNAT_LIVE(Dhcp, "dhcp.exports", exports, nullptr),
};

#undef VMNAT_FIXED
#undef VMNAT_LIVE

template <typename Section, std::size_t N>
void add_fixed(const std::array<FixedKey<Section>, N>& keys, const Section& running, const Section& wanted,
               const std::string& scope, Changes& changes) {
  for (const auto& key : keys)
    if (key.differs(running, wanted)) changes.restart.push_back(scope + std::string(key.key));
}

template <typename Section, std::size_t N>
void add_live(const std::array<LiveKey<Section>, N>& keys, const Section& running, const Section& wanted,
              const std::string& network, Changes& changes) {
  for (const auto& key : keys) {
    if (!key.differs(running, wanted)) continue;
    const std::string now = key.value == nullptr ? "has changed" : "is now " + key.value(wanted);
    changes.live.push_back(fmt::format("network {}: {} {}", network, key.key, now));
  }
}

bool same_names(const std::vector<Network>& running, const std::vector<Network>& wanted) {
  if (running.size() != wanted.size()) return false;
  for (std::size_t i = 0; i < running.size(); ++i)
    if (running[i].name != wanted[i].name) return false;
  return true;
}

}  // namespace

Changes compare(const Config& running, const Config& wanted) {
  Changes changes;
  add_fixed(kFixed, running, wanted, "", changes);
  if (!same_names(running.networks, wanted.networks)) {
    changes.restart.emplace_back("networks");
    return changes;
  }
  for (std::size_t i = 0; i < running.networks.size(); ++i) {
    const Network& before = running.networks[i];
    const Network& after = wanted.networks[i];
    add_fixed(kFixedOfANetwork, before, after, fmt::format("networks.{}.", before.name), changes);
    add_live(kLiveOfANetwork, before, after, before.name, changes);
    if (before.dhcp && after.dhcp) add_live(kLiveOfDhcp, *before.dhcp, *after.dhcp, before.name, changes);
  }
  // Whatever has no row above is not taken over in silence.
  Config adopted = running;
  adopt_live(adopted, wanted);
  if (changes.restart.empty() && !(adopted == wanted)) changes.restart.emplace_back("a key of the file");
  return changes;
}

void adopt_live(Config& running, const Config& wanted) {
  for (std::size_t i = 0; i < running.networks.size(); ++i) {
    Network& network = running.networks[i];
    const Network& after = wanted.networks[i];
    if (network.dhcp && after.dhcp) network.dhcp = after.dhcp;
    network.nat.mapping = after.nat.mapping;
    network.nat.overload = after.nat.overload;
    network.nat.tcp_mid_stream = after.nat.tcp_mid_stream;
    network.nat.mss_clamp = after.nat.mss_clamp;
    network.nat.exhaustion_icmp = after.nat.exhaustion_icmp;
    network.nat.timeouts = after.nat.timeouts;
    network.nat.limits = after.nat.limits;
  }
}

std::string restart_sentence(const std::vector<std::string>& keys) {
  return fmt::format("needs a restart: {}; nothing was changed", fmt::join(keys, ", "));
}

}  // namespace vmnat::control
