// SPDX-License-Identifier: Apache-2.0
// Flushing sessions on a running worker, and policies that change under it.
#include <gtest/gtest.h>

#include "net/arp.h"
#include "net/wire.h"
#include "tests/support/session_views.h"
#include "tests/support/testbed.h"

namespace vmnat::test {
namespace {

using dataplane::FlushBox;
using dataplane::SessionSelector;

struct Flush : ::testing::Test {
  void SetUp() override {
    bed.learn(kVm1, vm_mac(1));
    bed.learn(kVm2, vm_mac(2));
  }
  void TearDown() override {
    std::string why;
    EXPECT_TRUE(bed.worker(0).conntrack().check_invariants(&why)) << why;
  }
  // A UDP session of vm1 or vm2 towards port 80 of the server.
  void open(std::uint8_t vm, std::uint16_t port) {
    const std::string address = "192.168.122.1" + std::to_string(vm);
    bed.exchange(vm, Packet().from(vm_mac(vm), address, port).to(kRedMac, kServer, 80).udp().frame());
  }
  std::uint64_t flushed(const SessionSelector& selector) {
    const std::uint64_t ticket = box.ask(selector);
    for (unsigned polls = 0; !box.answer_to(ticket) && polls < 1000; ++polls) bed.poll();
    return box.answer_to(ticket).value();
  }
  std::uint64_t active() { return bed.worker(0).conntrack().statistics().active; }
  std::uint32_t udp_ports_used() {
    return bed.worker(0).conntrack().ports_used(0, conntrack::PortSpace::Udp);
  }
  Testbed bed;
  FlushBox& box = bed.flush_box(0);
};

net::Ipv4Addr ip(const char* text) {
  return net::parse_ipv4(text).value();
}

Bytes arp_request_for(net::Ipv4Addr address) {
  const net::ArpFrame request = net::arp_request(kRouterMac, net::Ipv4Addr::of(203, 0, 113, 1), address);
  return {request.bytes().begin(), request.bytes().end()};
}

TEST_F(Flush, EndsTheSessionsOfOnePortAndFreesTheirExternalPorts) {
  for (std::uint16_t port = 5000; port < 5003; ++port) open(1, port);
  for (std::uint16_t port = 6000; port < 6002; ++port) open(2, port);
  EXPECT_EQ(udp_ports_used(), 5u);
  EXPECT_EQ(flushed({.port = kVm1}), 3u);
  EXPECT_EQ(active(), 2u);
  EXPECT_EQ(udp_ports_used(), 2u);
  for (const conntrack::SessionView& view : views_of(bed.worker(0).conntrack()))
    EXPECT_EQ(view.vm_port, kVm2);
  EXPECT_EQ(bed.worker(0).conntrack().statistics().erased, 3u);
}

TEST_F(Flush, MovesSessionsToThePortWhereTheirVmIsNow) {
  for (std::uint16_t port = 5000; port < 5003; ++port) open(1, port);
  open(2, 6000);
  const std::uint64_t ticket = box.ask({.port = kVm1}, kVm2);
  for (unsigned polls = 0; !box.answer_to(ticket) && polls < 1000; ++polls) bed.poll();
  EXPECT_EQ(box.answer_to(ticket), 3u);
  EXPECT_EQ(active(), 4u);
  EXPECT_EQ(udp_ports_used(), 4u);
  unsigned of_vm1 = 0;
  for (const conntrack::SessionView& view : views_of(bed.worker(0).conntrack())) {
    EXPECT_EQ(view.vm_port, kVm2);
    of_vm1 += view.internal.address == ip("192.168.122.11") ? 1 : 0;
  }
  EXPECT_EQ(of_vm1, 3u) << "endpoints and mappings are as they were";
  EXPECT_EQ(flushed({.port = kVm1}), 0u);
  EXPECT_EQ(flushed({.port = kVm2}), 4u);
}

TEST_F(Flush, SelectsByEveryAttribute) {
  const auto port = [](std::uint16_t number) { return net::L4Port::from_host(number); };
  const struct {
    const char* says;
    SessionSelector selector;
    std::uint64_t ended;
  } kCases[] = {
      {"everything", {}, 3},
      {"a network", {.policy = 0}, 3},
      {"another network", {.policy = 1}, 0},
      {"a protocol", {.protocol = net::Protocol::Udp}, 3},
      {"another protocol", {.protocol = net::Protocol::Tcp}, 0},
      {"a state", {.states = 1u << static_cast<unsigned>(conntrack::SessionState::AskedUdp)}, 3},
      {"another state", {.states = 1u << static_cast<unsigned>(conntrack::SessionState::Established)}, 0},
      {"an internal address", {.internal = {{ip("192.168.122.11"), {}}}}, 2},
      {"an internal endpoint", {.internal = {{ip("192.168.122.11"), port(5001)}}}, 1},
      {"addresses beyond a network", {.internal_beyond = {{ip("192.168.122.1"), 24}}}, 0},
      {"addresses beyond a narrower one", {.internal_beyond = {{ip("192.168.122.8"), 31}}}, 3},
      {"a remote endpoint", {.remote = {{ip(kServer), port(80)}}}, 3},
      {"another remote port", {.remote = {{ip(kServer), port(81)}}}, 0},
      {"a port and a remote", {.port = kVm2, .remote = {{ip(kServer), {}}}}, 1},
  };
  for (const auto& [says, selector, ended] : kCases) {
    open(1, 5000);
    open(1, 5001);
    open(2, 6000);
    EXPECT_EQ(flushed(selector), ended) << says;
    EXPECT_EQ(active(), 3 - ended) << says;
    flushed({});
  }
}

TEST_F(Flush, SelectsByExternalEndpoint) {
  open(1, 5000);
  open(1, 5001);
  const auto external = net::Endpoint{ip("203.0.113.2"), net::L4Port::from_host(5001)};
  EXPECT_EQ(flushed({.external = {{external.address, net::L4Port::from_host(5002)}}}), 0u);
  EXPECT_EQ(flushed({.external = {{external.address, external.port}}}), 1u);
  const auto key =
      conntrack::FlowKey::of(external, {ip(kServer), net::L4Port::from_host(80)}, net::Protocol::Udp);
  EXPECT_FALSE(view_of(bed.worker(0).conntrack(), key));
}

TEST_F(Flush, EndsWhatDepartsAndLeavesWhoStaysAtAPort) {
  using dataplane::DepartingSessions;
  const auto endpoint = [](const char* address, std::uint16_t port) {
    return net::Endpoint{ip(address), net::L4Port::from_host(port)};
  };
  const auto departing = [](std::vector<DepartingSessions::Address> addresses,
                            std::vector<DepartingSessions::Port> ports) {
    return SessionSelector{.departures = std::make_shared<const DepartingSessions>(addresses, ports)};
  };
  open(1, 5000);
  open(1, 5001);
  open(2, 6000);
  constexpr auto kUdp = net::Protocol::Udp;
  EXPECT_EQ(flushed(departing({{1, ip("203.0.113.2")}, {0, ip("203.0.113.9")}}, {})), 0u)
      << "another network's, and another address";
  EXPECT_EQ(flushed(departing({}, {{endpoint("203.0.113.2", 5000), net::Protocol::Tcp, {}}})), 0u);
  const auto led_to = [&](std::uint16_t port) {
    return std::vector<dataplane::ForwardRule>{{{{}, 0}, {endpoint("192.168.122.11", port)}}};
  };
  EXPECT_EQ(flushed(departing({}, {{endpoint("203.0.113.2", 5000), kUdp, led_to(5000)},
                                   {endpoint("203.0.113.2", 6000), kUdp, led_to(80)}})),
            1u)
      << "vm1's stays where it is to be, vm2's goes";
  EXPECT_EQ(active(), 2u);
  EXPECT_EQ(flushed(departing({}, {{endpoint("203.0.113.2", 5000), kUdp, {}}})), 1u);
  EXPECT_EQ(flushed(departing({{0, ip("203.0.113.2")}}, {})), 1u);
  EXPECT_EQ(active(), 0u);
}

TEST_F(Flush, AnotherTableOfAddressesHoldsFromTheNextPoll) {
  open(1, 5000);
  bed.take(kUplink);
  bed.change_state([](dataplane::ForwardingState& state) {
    auto entries = state.external_addresses->entries();
    const auto all =
        std::make_shared<const conntrack::AllowedPorts>(1024, 65535, std::vector<std::uint16_t>{});
    entries[0] = {entries[0].address, std::make_shared<const conntrack::AllowedPorts>(), true};
    entries.push_back({ip("203.0.113.9"), all});
    state.external_addresses = std::make_shared<const conntrack::ExternalAddresses>(entries);
    state.policies =
        std::make_shared<const conntrack::NatPolicies>(3, conntrack::NatPolicy{.addresses = {0, 1}});
  });
  open(1, 5000);
  open(1, 5001);
  const auto sent = bed.take(kUplink);
  ASSERT_EQ(sent.size(), 2u);
  const auto source = [](const Bytes& frame) {
    return net::view<net::Ipv4Header>(frame, sizeof(net::EthernetHeader))->source;
  };
  EXPECT_EQ(source(sent[0]), ip("203.0.113.2")) << "its session goes on";
  EXPECT_EQ(source(sent[1]), ip("203.0.113.9"));
  bed.exchange(kUplink, arp_request_for(ip("203.0.113.9")));
  EXPECT_EQ(bed.take(kUplink).size(), 1u) << "ARP for a new address is answered";
}

TEST_F(Flush, LooksAtABoundedNumberOfRecordsEachPoll) {
  constexpr unsigned kSessions = 3 * FlushBox::kRecordsPerPoll;
  for (unsigned i = 0; i < kSessions; ++i) open(1, static_cast<std::uint16_t>(5000 + i));
  const std::uint64_t ticket = box.ask({});
  for (unsigned left = kSessions; left > 0; left -= FlushBox::kRecordsPerPoll) {
    EXPECT_EQ(active(), left);
    EXPECT_FALSE(box.answer_to(ticket)) << left;
    EXPECT_FALSE(box.is_idle());
    bed.poll();
  }
  EXPECT_EQ(box.answer_to(ticket), kSessions);
  EXPECT_TRUE(box.is_idle());
}

TEST_F(Flush, AnswersATableWithoutSessions) {
  EXPECT_TRUE(box.is_idle());
  EXPECT_EQ(flushed({}), 0u);
  EXPECT_EQ(flushed({}), 0u);
}

TEST_F(Flush, AFlushedFlowOpensAgainWithItsNextFrame) {
  open(1, 5000);
  EXPECT_EQ(flushed({}), 1u);
  bed.take(kUplink);
  open(1, 5000);
  EXPECT_EQ(bed.take(kUplink).size(), 1u);
  EXPECT_EQ(active(), 1u);
}

TEST_F(Flush, NewPoliciesHoldFromTheNextPollAndSessionsSurviveThem) {
  open(1, 5000);
  bed.change_state([](dataplane::ForwardingState& state) {
    const conntrack::NatPolicy one_session{.addresses = {0}, .sessions_per_port = 1};
    state.policies = std::make_shared<const conntrack::NatPolicies>(3, one_session);
  });
  open(1, 5000);
  open(1, 5001);
  EXPECT_EQ(active(), 1u);
  EXPECT_EQ(bed.dropped(dataplane::DropReason::SessionLimit), 1u);
  bed.change_state([](dataplane::ForwardingState& state) {
    const conntrack::NatPolicy short_lived{.addresses = {0}, .timeouts = {.udp = std::chrono::seconds(10)}};
    state.policies = std::make_shared<const conntrack::NatPolicies>(3, short_lived);
  });
  open(1, 5001);
  EXPECT_EQ(active(), 2u);
  bed.advance(std::chrono::seconds(20));
  EXPECT_EQ(active(), 0u) << "existing sessions take the new timeouts";
}

}  // namespace
}  // namespace vmnat::test
