// SPDX-License-Identifier: Apache-2.0
// What a reload takes over, what it refuses, and in which words.
#include "control/config/reload.h"

#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/config/values.h"

namespace vmnat::control {
namespace {

using config::Config;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

Config running() {
  Config config;
  config.uplink.address = net::Ipv4Prefix{net::Ipv4Addr::of(203, 0, 113, 2), 24};
  config.networks = {{.name = "red", .ports = {{.name = "vm1", .device = "veth1"}}, .dhcp = config::Dhcp{}},
                     {.name = "blue"}};
  return config;
}

Changes after(const std::function<void(Config&)>& change) {
  Config wanted = running();
  change(wanted);
  return compare(running(), wanted);
}

TEST(Reload, TheSameFileChangesNothing) {
  const Changes changes = compare(running(), running());
  EXPECT_THAT(changes.live, IsEmpty());
  EXPECT_THAT(changes.restart, IsEmpty());
}

TEST(Reload, TellsLiveChangesInSentences) {
  using std::chrono::minutes;
  const struct {
    const char* sentence;
    std::function<void(Config&)> change;
  } kCases[] = {
      {"network red: address is now 10.1.2.1/24",
       [](Config& c) {
         c.networks[0].address = {net::Ipv4Addr::of(10, 1, 2, 1), 24};
       }},
      {"network red: mac is now 52:54:00:00:00:09",
       [](Config& c) {
         c.networks[0].mac = net::MacAddr{{0x52, 0x54, 0, 0, 0, 9}};
       }},
      {"network red: mtu is now 1400", [](Config& c) { c.networks[0].mtu = 1400; }},
      {"network blue: forward is now none", [](Config& c) { c.networks[1].forward = config::Forward::None; }},
      {"network blue: forward is now none",
       [](Config& c) {
         c.networks[1].forward = config::Forward::None;
         c.networks[1].nat.addresses.resize(1);  // which means nothing now
       }},
      {"network blue: isolated_ports is now true", [](Config& c) { c.networks[1].isolated_ports = true; }},
      {"network red: rules has changed", [](Config& c) { c.networks[0].rules.resize(1); }},
      {"network red: port vm1: rules has changed", [](Config& c) { c.networks[0].ports[0].rules.resize(1); }},
      {"network red: port vm1: group has changed", [](Config& c) { c.networks[0].ports[0].group = "web"; }},
      {"network red: port vm1: device has changed (its device is opened anew)",
       [](Config& c) { c.networks[0].ports[0].device.name = "veth9"; }},
      {"network blue: host has changed",
       [](Config& c) { c.networks[1].host = config::Host{.interface = "vmnat0", .services = {}}; }},
      {"network red: limit has changed", [](Config& c) { c.networks[0].limit = config::RateLimits{}; }},
      {"network blue: shared_limit has changed",
       [](Config& c) {
         c.networks[1].shared_limit = config::RateLimits{.in = config::RateLimit{}, .out = {}};
       }},
      {"network red: port vm1: limit has changed",
       [](Config& c) { c.networks[0].ports[0].limit = config::RateLimits{}; }},
      {"uplink.limit has changed", [](Config& c) { c.uplink.limit = config::RateLimits{}; }},
      {"network blue: dns has changed", [](Config& c) { c.networks[1].dns = config::Dns{}; }},
      {"network red: dhcp removed", [](Config& c) { c.networks[0].dhcp.reset(); }},
      {"network blue: dhcp added", [](Config& c) { c.networks[1].dhcp = config::Dhcp{}; }},
      {"network blue removed (0 ports)", [](Config& c) { c.networks.pop_back(); }},
      {"network green added (0 ports)", [](Config& c) { c.networks.push_back({.name = "green"}); }},
      {"network red: dhcp.lease_time is now 10m",
       [](Config& c) { c.networks[0].dhcp->lease_time = minutes(10); }},
      {"network red: dhcp.ranges has changed", [](Config& c) { c.networks[0].dhcp->ranges.resize(1); }},
      {"network red: dhcp.dns has changed", [](Config& c) { c.networks[0].dhcp->dns.servers.resize(1); }},
      {"network red: dhcp.domain has changed", [](Config& c) { c.networks[0].dhcp->domain = "lab"; }},
      {"network red: reservation 192.168.122.9 added",
       [](Config& c) {
         c.networks[0].dhcp->reservations = {{.port = "vm1", .address = net::Ipv4Addr::of(192, 168, 122, 9)}};
       }},
      {"network red: dhcp option 252 added",
       [](Config& c) { c.networks[0].dhcp->options = {{.code = 252, .bytes = "x"}}; }},
      {"network red: dhcp route 10.0.0.0/8 added",
       [](Config& c) { c.networks[0].dhcp->routes = {{.to = *config::prefix("10.0.0.0/8"), .via = {}}}; }},
      {"network red: dhcp.dns has changed",
       [](Config& c) { c.networks[0].dhcp->dns.from = config::DnsSource::Gateway; }},
      {"network red: dhcp.limits.leases_per_port is now 3",
       [](Config& c) { c.networks[0].dhcp->limits.leases_per_port = 3; }},
      {"network red: dhcp.exports.dnsmasq has changed",
       [](Config& c) { c.networks[0].dhcp->exports.dnsmasq = "/run/x"; }},
      {"network blue: nat.mapping is now endpoint-dependent",
       [](Config& c) { c.networks[1].nat.mapping = config::Mapping::EndpointDependent; }},
      {"network blue: nat.overload is now false", [](Config& c) { c.networks[1].nat.overload = false; }},
      {"network blue: nat.timeouts.tcp_established is now 3h",
       [](Config& c) { c.networks[1].nat.timeouts.tcp_established = minutes(180); }},
      {"network blue: nat.timeouts.tcp_transitory is now 5m",
       [](Config& c) { c.networks[1].nat.timeouts.tcp_transitory = minutes(5); }},
      {"network blue: nat.timeouts.udp is now 6m",
       [](Config& c) { c.networks[1].nat.timeouts.udp = minutes(6); }},
      {"network blue: nat.timeouts.udp_answered is now 1m",
       [](Config& c) { c.networks[1].nat.timeouts.udp_answered = minutes(1); }},
      {"network blue: nat.timeouts.icmp is now 2m",
       [](Config& c) { c.networks[1].nat.timeouts.icmp = minutes(2); }},
      {"network blue: nat.timeouts.other is now 1h",
       [](Config& c) { c.networks[1].nat.timeouts.other = minutes(60); }},
      {"network red: nat.mss_clamp is now 1360", [](Config& c) { c.networks[0].nat.mss_clamp = 1360; }},
      {"network red: nat.mss_clamp is now off", [](Config& c) { c.networks[0].nat.mss_clamp = 0; }},
      {"network red: nat.tcp_mid_stream is now pick-up",
       [](Config& c) { c.networks[0].nat.tcp_mid_stream = config::TcpMidStream::PickUp; }},
      {"network red: nat.exhaustion_icmp is now off",
       [](Config& c) { c.networks[0].nat.exhaustion_icmp = config::ExhaustionIcmp::Off; }},
      {"uplink.address is now 203.0.113.9/24",
       [](Config& c) { c.uplink.address->address = net::Ipv4Addr::of(203, 0, 113, 9); }},
      {"uplink.gateway is now 203.0.113.3",
       [](Config& c) { c.uplink.gateway = net::Ipv4Addr::of(203, 0, 113, 3); }},
      {"uplink.mtu is now 1400", [](Config& c) { c.uplink.mtu = 1400; }},
      {"network blue: pool address 0.0.0.0 added", [](Config& c) { c.networks[1].nat.addresses.resize(1); }},
      {"network blue: drain of pool address 0.0.0.0 added",
       [](Config& c) { c.networks[1].nat.drain.resize(1); }},
      {"network blue: nat.ports is now 2000-3000",
       [](Config& c) { c.networks[1].nat.ports = config::PortRange::of(2000, 3000); }},
      {"network blue: reserved port 0 added", [](Config& c) { c.networks[1].nat.reserved_ports.resize(1); }},
      {"network blue: nat.filtering is now endpoint-independent",
       [](Config& c) { c.networks[1].nat.filtering = config::Filtering::EndpointIndependent; }},
      {"network blue: static address 0.0.0.0 added",
       [](Config& c) { c.networks[1].nat.static_nat.resize(1); }},
      {"network blue: nat.rules has changed", [](Config& c) { c.networks[1].nat.rules.resize(1); }},
      {"network blue: forward tcp 0 added", [](Config& c) { c.networks[1].nat.forwards.resize(1); }},
      {"network red: nat.limits.sessions_per_port is now 7",
       [](Config& c) { c.networks[0].nat.limits.sessions_per_port = 7; }},
      {"network red: nat.limits.new_sessions_per_second is now 8",
       [](Config& c) { c.networks[0].nat.limits.new_sessions_per_second = 8; }},
  };
  for (const auto& [sentence, change] : kCases) {
    const Changes changes = after(change);
    EXPECT_THAT(changes.live, ElementsAre(sentence));
    EXPECT_THAT(changes.restart, IsEmpty()) << sentence;
  }
}

TEST(Reload, NamesEveryKeyThatNeedsARestart) {
  const struct {
    const char* key;
    std::function<void(Config&)> change;
  } kCases[] = {
      {"dataplane.workers", [](Config& c) { c.dataplane.workers = {1}; }},
      {"dataplane.control_cpu", [](Config& c) { c.dataplane.control_cpu = 1; }},
      {"dataplane.memory", [](Config& c) { c.dataplane.memory.bytes = 1; }},
      {"dataplane.hugepages", [](Config& c) { c.dataplane.hugepages = config::Hugepages::Off; }},
      {"dataplane.idle", [](Config& c) { c.dataplane.idle = config::Idle::Poll; }},
      {"dataplane.eal", [](Config& c) { c.dataplane.eal = {"-v"}; }},
      {"uplink.device", [](Config& c) { c.uplink.device.name = "eth9"; }},
      {"uplink.address", [](Config& c) { c.uplink.address.reset(); }},
      {"uplink.mac", [](Config& c) { c.uplink.mac = net::MacAddr{}; }},
      {"uplink.queues", [](Config& c) { c.uplink.queues = 1; }},
      {"uplink.device", [](Config& c) { c.uplink.device.driver = config::KernelDriver::Xdp; }},
      {"conntrack.sessions", [](Config& c) { c.conntrack.sessions = 5; }},
      {"control.socket", [](Config& c) { c.control.socket = "/x"; }},
      {"control.token_file", [](Config& c) { c.control.token_file = "/x"; }},
      {"control.state_dir", [](Config& c) { c.control.state_dir = "/x"; }},
  };
  for (const auto& [key, change] : kCases) EXPECT_THAT(after(change).restart, ElementsAre(key));
}

TEST(Reload, TellsAllChangesAtOnce) {
  const Changes changes = after([](Config& c) {
    c.uplink.device.name = "eth9";
    c.conntrack.sessions = 5;
    c.networks[0].dhcp->domain = "lab";
  });
  EXPECT_THAT(changes.restart, UnorderedElementsAre("uplink.device", "conntrack.sessions"));
  EXPECT_THAT(changes.live, ElementsAre("network red: dhcp.domain has changed"));
  EXPECT_EQ(restart_sentence(changes.restart),
            "needs a restart: uplink.device, conntrack.sessions; nothing was changed");
}

// Live or not: the sentences of whichever it is. What is live moves from one list to the other, in the same words.
std::vector<std::string> told(const Config& before, const Config& after) {
  Changes changes = compare(before, after);
  for (std::string& sentence : changes.held) changes.live.push_back(std::move(sentence));
  EXPECT_EQ(changes.held.empty(), changes.restart.empty());
  return changes.live;
}

config::AddressRange range(std::uint8_t first, std::uint8_t last) {
  return {net::Ipv4Addr::of(203, 0, 113, first), net::Ipv4Addr::of(203, 0, 113, last)};
}
config::PortForward forward(std::uint16_t port, std::optional<net::Ipv4Addr> address = {}) {
  return {.address = address, .port = config::PortRange::of(port, port), .to = {}, .from = {}};
}

TEST(Reload, TellsWhichElementsOfAListHaveComeGoneAndChanged) {
  Config before = running();
  before.networks[0].ports.push_back({.name = "vm2", .vhost_user = "/run/vm2"});
  before.networks[0].nat.forwards = {forward(80), forward(81)};
  before.networks[0].nat.reserved_ports = {config::PortRange::of(5000, 5009)};
  const struct {
    std::vector<std::string> sentences;
    std::function<void(Config&)> change;
  } kCases[] = {
      {{"network red: port vm3 added"}, [](Config& c) { c.networks[0].ports.push_back({.name = "vm3"}); }},
      {{"network red: port vm1 removed"},
       [](Config& c) { c.networks[0].ports.erase(c.networks[0].ports.begin()); }},
      {{"network red: port vm2: queues is now 2 (its device is opened anew)"},
       [](Config& c) { c.networks[0].ports[1].queues = 2; }},
      {{"network red: port vm2: vhost_user has changed, mode is now server (its device is opened anew)"},
       [](Config& c) {
         c.networks[0].ports[1].vhost_user = "/run/other";
         c.networks[0].ports[1].mode = config::VhostMode::Server;
       }},
      {{"network red: port vm2: access has changed (its device is opened anew)"},
       [](Config& c) { c.networks[0].ports[1].access = config::SocketAccess{.group = "lab"}; }},
      {{"network red: port vm2: features has changed (its device is opened anew)"},
       [](Config& c) {
         c.networks[0].ports[1].features = config::Features{{config::VirtioFeature::Packed}};
       }},
      {{"network red: port vm1: guard is now off"},
       [](Config& c) { c.networks[0].ports[0].guard = config::PortGuard::Off; }},
      {{"network red: port vm1 removed", "network red: port vm9 added"},
       [](Config& c) { c.networks[0].ports[0].name = "vm9"; }},
      {{"network red: ports are in another order"},
       [](Config& c) { std::swap(c.networks[0].ports[0], c.networks[0].ports[1]); }},
      {{"network red: forward tcp 80 removed", "network red: forward tcp 203.0.113.7:80 added"},
       [](Config& c) { c.networks[0].nat.forwards[0] = forward(80, net::Ipv4Addr::of(203, 0, 113, 7)); }},
      {{"network red: forward tcp 81: to is now 10.0.0.1:9"},
       [](Config& c) {
         c.networks[0].nat.forwards[1].to = {{net::Ipv4Addr::of(10, 0, 0, 1), net::L4Port::from_host(9)}};
       }},
      {{"network red: nat.forwards are in another order"},
       [](Config& c) { std::swap(c.networks[0].nat.forwards[0], c.networks[0].nat.forwards[1]); }},
      {{"network red: reserved port 5000-5004 removed", "network red: reserved port 5010 added"},
       [](Config& c) { c.networks[0].nat.reserved_ports = {config::PortRange::of(5005, 5010)}; }},
  };
  for (const auto& [sentences, change] : kCases) {
    Config wanted = before;
    change(wanted);
    EXPECT_EQ(told(before, wanted), sentences);
  }
}

TEST(Reload, TellsAddressesOneByOneHoweverRangesAreCut) {
  const struct {
    std::vector<config::AddressRange> before, after;
    std::vector<std::string> sentences;
  } kCases[] = {
      {{range(2, 2)}, {range(2, 2), range(7, 7)}, {"network red: pool address 203.0.113.7 added"}},
      {{range(2, 9)}, {range(2, 4), range(6, 9)}, {"network red: pool address 203.0.113.5 removed"}},
      {{range(2, 9)}, {range(2, 4), range(5, 9)}, {"network red: nat.addresses are in another order"}},
      {{range(2, 3)},
       {range(3, 4), range(5, 5)},
       {"network red: pool address 203.0.113.2 removed",
        "network red: pool address 203.0.113.4-203.0.113.5 added"}},
      {{range(0, 255)},
       {range(1, 254)},
       {"network red: pool address 203.0.113.0 removed", "network red: pool address 203.0.113.255 removed"}},
      {{}, {range(2, 2)}, {"network red: pool address 203.0.113.2 added"}},
  };
  for (const auto& [addresses, after, sentences] : kCases) {
    Config before = running(), wanted = running();
    before.networks[0].nat.addresses = addresses;
    wanted.networks[0].nat.addresses = after;
    EXPECT_EQ(told(before, wanted), sentences);
  }
}

TEST(Reload, TellsNetworksThatComeAndGoAndChangesOfThoseThatStay) {
  const auto green = [](Config& c) {
    c.networks.push_back({.name = "green", .ports = {{.name = "g1"}, {.name = "g2"}}});
    c.networks.erase(c.networks.begin());
    c.networks[0].nat.overload = false;
  };
  Config wanted = running();
  green(wanted);
  EXPECT_THAT(told(running(), wanted),
              UnorderedElementsAre("network red removed (1 port)", "network green added (2 ports)",
                                   "network blue: nat.overload is now false"));
  Config swapped = running();
  std::swap(swapped.networks[0], swapped.networks[1]);
  EXPECT_THAT(told(running(), swapped), ElementsAre("networks are in another order"));
}

TEST(Reload, SaysWhatNeedsTheRestart) {
  const Changes changes = after([](Config& c) { c.uplink.queues = 2; });
  EXPECT_THAT(changes.held, ElementsAre("uplink.queues is now 2"));
  EXPECT_THAT(changes.live, IsEmpty());
}

}  // namespace
}  // namespace vmnat::control
