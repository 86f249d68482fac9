// SPDX-License-Identifier: Apache-2.0
// From one configuration's NAT to the next, with workers that are polled by hand: which sessions end, what may open
// meanwhile, and that nothing changes before every worker has seen what comes before it.
#include "control/gateway/live_nat.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <memory>
#include <rte_ring.h>
#include <set>

#include "control/plan/gateway_plan.h"
#include "control/plan/initial_state.h"
#include "tests/control/plan/configured.h"

namespace vmnat::control {
namespace {

using conntrack::FlowKey;
using conntrack::Opened;

net::Ipv4Addr pool(unsigned last) {
  return net::Ipv4Addr::of(203, 0, 113, static_cast<std::uint8_t>(last));
}
net::Endpoint at(const char* address, unsigned port) {
  return {*net::parse_ipv4(address), net::L4Port::from_host(static_cast<std::uint16_t>(port))};
}
const net::Endpoint kRemote = at("198.51.100.7", 443);

// Networks a and b, whose `nat` is given.
config::Config with(const std::string& a, const std::string& b = "addresses: [203.0.113.200]") {
  return configured("  - {name: a, address: 10.1.0.1/24, nat: {" + a + "}}\n" +
                    "  - {name: b, address: 10.2.0.1/24, nat: {" + b + "}}\n");
}
std::string forward(unsigned number, const std::string& to) {
  return ", forwards: [{protocol: tcp, port: " + std::to_string(number) + ", to: \"" + to + "\"}]";
}

// Rings without the EAL; nobody puts anything into them.
class EmptyRing {
 public:
  explicit EmptyRing(unsigned element) {
    const auto bytes = static_cast<std::size_t>(rte_ring_get_memsize_elem(element, kSize));
    memory_.reset(std::aligned_alloc(RTE_CACHE_LINE_SIZE, bytes));
    rte_ring_init(get(), "empty", kSize, RING_F_SP_ENQ | RING_F_SC_DEQ);
  }
  [[nodiscard]] rte_ring* get() const { return static_cast<rte_ring*>(memory_.get()); }

 private:
  static constexpr unsigned kSize = 8;
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<void, Free> memory_;
};

class LiveNatTest : public testing::Test {
 protected:
  static constexpr unsigned kWorkers = 2, kRoom = 8;
  static constexpr PortIndex kVm = 1;

  void start(const config::Config& config) {
    NatPlan plan = plan_nat(config, nullptr, ways_);
    ports_ = conntrack::ExternalPorts::create(kRoom, kWorkers, {});
    ports_->populate(static_cast<unsigned>(plan.external->size()));
    const GatewayPlan gateway = plan_gateway(config, kWorkers);
    dataplane::ForwardingState first = initial_state(gateway.config, gateway.ports, ways_);
    first.external_addresses = plan.external;
    first.uplinks_of_external = plan.uplinks_of_external;
    first.policies = std::make_shared<const conntrack::NatPolicies>(plan.policies);
    for (unsigned i = 0; i < kWorkers; ++i)
      first.polled.push_back(std::make_shared<dataplane::PollSet>(
          std::vector<dataplane::ReceiveQueue>{}, dataplane::Sharers{.ports = 1, .guests = 1}));
    states_.emplace(std::move(first));
    for (unsigned i = 0; i < kWorkers; ++i) add_worker(i, plan);
    nat_.emplace(std::move(plan), kRoom, *states_, workers_, turns_);
    tick();
  }

  // Control's turn, and a poll of the workers that are awake. What LiveNat said.
  std::optional<std::uint64_t> tick(unsigned awake = kWorkers) {
    publish_what_has_changed();
    for (unsigned i = 0; i < awake; ++i) workers_[i].poll_once(tsc_ += 1'000'000);
    return nat_->poll();
  }
  void publish_what_has_changed() {
    if (!nat_->has_changed(rented_)) return;
    dataplane::ForwardingState next = states_->current();
    nat_->fill(next, rented_);
    states_->publish(std::move(next));
  }
  void set_out(const config::Config& wanted) {
    auto plan = nat_->plan(wanted, ways_);
    ASSERT_TRUE(plan) << to_string(plan.error());
    nat_->change_to(*std::move(plan), rented_.in_table);
  }
  // To the end of the change: how many sessions it has ended.
  std::uint64_t change_to(const config::Config& wanted) {
    set_out(wanted);
    std::optional<std::uint64_t> ended;
    for (unsigned ticks = 0; !ended && ticks < 100; ++ticks) ended = tick();
    EXPECT_TRUE(ended) << "the change does not end";
    EXPECT_FALSE(nat_->is_under_way());
    return ended.value_or(0);
  }

  // By VMs of network a or b, on the first worker unless said otherwise.
  Opened try_open(net::Endpoint internal, unsigned network = 0, unsigned worker = 0) {
    return tables_[worker]->open_outbound(
        {.key = FlowKey::of(internal, kRemote, net::Protocol::Udp), .vm_port = kVm}, network, {});
  }
  // The session's external address.
  net::Ipv4Addr open(net::Endpoint internal, unsigned network = 0, unsigned worker = 0) {
    const Opened opened = try_open(internal, network, worker);
    EXPECT_NE(opened.session, nullptr) << net::to_string(internal);
    for (const auto& view : all_sessions())
      if (view.internal == internal) return view.external.address;
    return {};
  }
  // By a remote, at an external endpoint that is forwarded.
  Opened open_forwarded(net::Endpoint external, net::Endpoint internal) {
    return tables_[0]->open_inbound({.key = FlowKey::of(external, kRemote, net::Protocol::Tcp),
                                     .forward_to = internal,
                                     .vm_port = kVm,
                                     .tcp_flags = net::TcpHeader::kSyn},
                                    0, {});
  }
  [[nodiscard]] std::vector<conntrack::SessionView> all_sessions() const {
    std::vector<conntrack::SessionView> all;
    for (const conntrack::Conntrack* table : tables_) {
      std::array<conntrack::SessionView, 256> views{};
      std::uint32_t cursor = 0;
      all.insert(all.end(), views.begin(),
                 views.begin() + static_cast<std::ptrdiff_t>(table->snapshot(cursor, views)));
    }
    return all;
  }
  [[nodiscard]] std::size_t sessions_at(net::Ipv4Addr external) const {
    return static_cast<std::size_t>(std::ranges::count_if(
        all_sessions(), [&](const auto& view) { return view.external.address == external; }));
  }
  // Where the forward of a TCP port leads; nothing: there is none.
  [[nodiscard]] std::optional<net::Endpoint> forwarded(net::Endpoint external) const {
    const auto forward = states_->current().forward_of(external, net::Protocol::Tcp, kRemote.address);
    return forward ? std::optional{forward->to} : std::nullopt;
  }
  [[nodiscard]] bool is_published(net::Ipv4Addr external) const {
    return states_->current().external_addresses->index_of(external).has_value();
  }
  void TearDown() override {
    for (const conntrack::Conntrack* table : tables_) {
      std::string why;
      EXPECT_TRUE(table->check_invariants(&why)) << why;
    }
  }

  std::deque<EmptyRing> rings_;
  std::unique_ptr<conntrack::ExternalPorts> ports_;
  std::optional<StatePublisher> states_;
  Workers workers_;
  std::vector<conntrack::Conntrack*> tables_;
  FlushTurns turns_;
  std::optional<LiveNat> nat_;
  Rented rented_{};
  NetworkWays ways_;  // of the next plan
  std::uint64_t tsc_ = 1;

 private:
  dataplane::FrameRing frame_ring() { return dataplane::FrameRing(rings_.emplace_back(sizeof(void*)).get()); }
  void add_worker(unsigned index, const NatPlan& plan) {
    dataplane::Rings rings{.punt = frame_ring(), .uplink_punt = frame_ring(), .inject = frame_ring()};
    rings.learn = dataplane::LearnRing(rings_.emplace_back(sizeof(dataplane::LearnedMac)).get());
    rings.handoff_to.resize(kWorkers);
    for (unsigned other = 0; other < kWorkers; ++other)
      if (other != index) rings.handoff_from.push_back(rings.handoff_to[other] = frame_ring());
    auto table = conntrack::Conntrack::create(
        {.capacity = 4096, .seed = 7, .worker = static_cast<WorkerIndex>(index), .vm_ports = 2}, *ports_,
        *plan.external, plan.policies);
    ASSERT_NE(table, nullptr);
    tables_.push_back(table.get());
    ASSERT_TRUE(workers_.add({.index = static_cast<WorkerIndex>(index),
                              .worker_count = kWorkers,
                              .uplink_count = states_->current().uplink_count,
                              .idle = dataplane::Idle::Poll,
                              .rings = std::move(rings),
                              .published = &states_->published(),
                              .start_tsc = 0,
                              .tsc_hz = 1'000'000'000},
                             std::move(table), *ports_));
  }
};

TEST_F(LiveNatTest, AnAddressThatComesServesOnceEveryWorkerHasSeenItAndEndsNothing) {
  start(with("addresses: [203.0.113.8]"));
  EXPECT_EQ(open(at("10.1.0.5", 1000)), pool(8));
  set_out(with("addresses: [203.0.113.8-203.0.113.9]"));
  EXPECT_EQ(tick(1), std::nullopt) << "one worker has not seen it";
  EXPECT_TRUE(nat_->is_under_way());
  EXPECT_EQ(tick(), 0u);
  std::set<net::Ipv4Addr> served;
  for (unsigned vm = 10; vm < 40; ++vm)
    served.insert(open(at(("10.1.0." + std::to_string(vm)).c_str(), 1000), 0, vm % kWorkers));
  EXPECT_EQ(served, (std::set{pool(8), pool(9)}));
  EXPECT_EQ(all_sessions().size(), 31u);
  EXPECT_EQ(nat_->sessions_ended(), 0u);
}

TEST_F(LiveNatTest, AnAddressThatGoesOpensNothingMoreBeforeItsSessionsEndOnAllWorkers) {
  start(with("addresses: [203.0.113.8]"));
  for (unsigned worker = 0; worker < kWorkers; ++worker)
    EXPECT_EQ(open(at("10.1.0.5", 1000 + worker), 0, worker), pool(8));
  EXPECT_EQ(open(at("10.2.0.5", 1000), 1), pool(200));
  set_out(with("addresses: [203.0.113.9]"));
  tick(1);
  EXPECT_TRUE(is_published(pool(8))) << "frames of its sessions are translated still";
  EXPECT_EQ(sessions_at(pool(8)), 2u) << "a worker may still open some: none ends yet";
  EXPECT_EQ(open(at("10.1.0.6", 1000), 0, 0), pool(9)) << "where it was seen, the new one serves";
  std::optional<std::uint64_t> ended;
  for (unsigned ticks = 0; !ended && ticks < 100; ++ticks) {
    ended = tick();
    EXPECT_EQ(nat_->is_under_way(), !ended);
  }
  EXPECT_EQ(ended, 2u);
  EXPECT_EQ(nat_->sessions_ended(), 2u);
  EXPECT_EQ(sessions_at(pool(8)), 0u);
  EXPECT_EQ(sessions_at(pool(9)), 1u);
  EXPECT_EQ(sessions_at(pool(200)), 1u) << "of the other network";
  EXPECT_FALSE(is_published(pool(8)));
  EXPECT_FALSE(nat_->running().external->index_of(pool(8)));
}

TEST_F(LiveNatTest, AnAddressThatDrainsKeepsItsSessionsAndGetsNoNewOnesUntilItIsUsedAgain) {
  const std::string both = "addresses: [203.0.113.8, 203.0.113.9]";
  start(with("addresses: [203.0.113.8]"));
  open(at("10.1.0.5", 1000));
  EXPECT_EQ(change_to(with(both + ", drain: [203.0.113.8]")), 0u);
  EXPECT_EQ(sessions_at(pool(8)), 1u);
  for (unsigned vm = 10; vm < 30; ++vm)
    EXPECT_EQ(open(at(("10.1.0." + std::to_string(vm)).c_str(), 1000), 0, vm % kWorkers), pool(9));
  EXPECT_EQ(change_to(with(both)), 0u);
  for (unsigned vm = 30; vm < 60; ++vm) open(at(("10.1.0." + std::to_string(vm)).c_str(), 1000));
  EXPECT_GT(sessions_at(pool(8)), 1u) << "it is used again";
}

TEST_F(LiveNatTest, AForwardTakesItsPortFromWhoHadItAndGivesItBackWithItsOwnSessions) {
  const std::string address = "addresses: [203.0.113.8]";
  start(with(address));
  EXPECT_EQ(open(at("10.1.0.5", 8080)), pool(8));
  const auto taken = all_sessions().front().external;
  EXPECT_EQ(open(at("10.1.0.5", 9000)), pool(8));
  EXPECT_EQ(change_to(with(address + forward(taken.port.host(), "10.1.0.6:80"))), 0u)
      << "the port is TCP's alone, the session is UDP's";
  EXPECT_EQ(forwarded(taken), at("10.1.0.6", 80));
  ASSERT_NE(open_forwarded(taken, at("10.1.0.6", 80)).session, nullptr);
  EXPECT_EQ(change_to(with(address + forward(taken.port.host(), "10.1.0.7:80"))), 1u) << "to another VM";
  EXPECT_EQ(all_sessions().size(), 2u);
  ASSERT_NE(open_forwarded(taken, at("10.1.0.7", 80)).session, nullptr);
  EXPECT_EQ(change_to(with(address)), 1u);
  EXPECT_EQ(forwarded(taken), std::nullopt);
  EXPECT_EQ(all_sessions().size(), 2u) << "those that VMs have opened go on";
}

TEST_F(LiveNatTest, WhileAForwardChangesItsVmNobodyIsLedToEither) {
  const std::string address = "addresses: [203.0.113.8]";
  start(with(address + forward(8080, "10.1.0.6:80")));
  const net::Endpoint external = at("203.0.113.8", 8080);
  EXPECT_EQ(forwarded(external), at("10.1.0.6", 80));
  ASSERT_NE(open_forwarded(external, at("10.1.0.6", 80)).session, nullptr);
  set_out(with(address + forward(8080, "10.1.0.7:80")));
  publish_what_has_changed();
  EXPECT_TRUE(nat_->is_under_way());
  EXPECT_EQ(forwarded(external), std::nullopt);
  std::optional<std::uint64_t> ended;
  for (unsigned ticks = 0; !ended && ticks < 100; ++ticks) ended = tick();
  EXPECT_EQ(ended, 1u);
  EXPECT_EQ(forwarded(external), at("10.1.0.7", 80));
}

TEST_F(LiveNatTest, ANetworkThatLosesAnAddressOfAnotherOneLosesItsOwnSessionsAlone) {
  start(with("addresses: [203.0.113.8]", "addresses: [203.0.113.8]"));
  EXPECT_EQ(open(at("10.1.0.5", 1000), 0), pool(8));
  EXPECT_EQ(open(at("10.2.0.5", 2000), 1), pool(8));
  EXPECT_EQ(change_to(with("addresses: [203.0.113.9]", "addresses: [203.0.113.8]")), 1u);
  ASSERT_EQ(all_sessions().size(), 1u);
  EXPECT_EQ(all_sessions()[0].internal, at("10.2.0.5", 2000));
}

TEST_F(LiveNatTest, MoreAddressesThanThereIsRoomForChangeNothing) {
  start(with("addresses: [203.0.113.8]"));
  const auto generation = states_->current().generation;
  const auto plan = nat_->plan(with("addresses: [203.0.113.10-203.0.113.19]"));
  ASSERT_FALSE(plan);
  EXPECT_NE(to_string(plan.error()).find("there is room for 8 external addresses"), std::string::npos);
  EXPECT_FALSE(nat_->is_under_way());
  EXPECT_FALSE(nat_->has_changed(rented_));
  tick();
  EXPECT_EQ(states_->current().generation, generation);
  EXPECT_EQ(open(at("10.1.0.5", 1000)), pool(8));
}

// The indices of those that go are not free while they go, so that no session can meet another address under its own.
TEST_F(LiveNatTest, AddressesThatChangeAgainAndAgainAlwaysFindRoom) {
  start(with("addresses: [203.0.113.8]"));
  for (unsigned turn = 0; turn < 20; ++turn) {
    const unsigned last = 10 + turn;
    open(at("10.1.0.5", 1000 + turn), 0, turn % kWorkers);
    EXPECT_EQ(change_to(with("addresses: [203.0.113." + std::to_string(last) + "]")), 1u) << turn;
    EXPECT_EQ(all_sessions().size(), 0u);
    EXPECT_LE(states_->current().external_addresses->size(), kRoom);
  }
  EXPECT_EQ(nat_->sessions_ended(), 20u);
}

TEST_F(LiveNatTest, AVmsOwnAddressIsAnothersOnceTheSessionsOfTheFirstHaveEnded) {
  const auto own_address_of = [](const std::string& vm) {
    return with("addresses: [203.0.113.8], static: [{internal: " + vm + ", external: 203.0.113.20}]");
  };
  const auto first = at("10.1.0.5", 1000), second = at("10.1.0.6", 1000);
  start(own_address_of("10.1.0.5"));
  const FlowKey flow = FlowKey::of(first, kRemote, net::Protocol::Udp);
  ASSERT_NE(tables_[1]->open_outbound({.key = flow, .vm_port = kVm, .own_address = pool(20)}, 0, {}).session,
            nullptr);
  open(second);
  set_out(own_address_of("10.1.0.6"));
  EXPECT_EQ(tick(1), std::nullopt);
  EXPECT_EQ(states_->current().pair_of(first.address), nullptr);
  ASSERT_NE(states_->current().pair_of(second.address), nullptr);
  EXPECT_TRUE(states_->current().pair_of(second.address)->is_draining);
  EXPECT_EQ(sessions_at(pool(20)), 1u) << "a worker has not seen it";
  std::optional<std::uint64_t> ended;
  for (unsigned ticks = 0; !ended && ticks < 100; ++ticks) ended = tick();
  EXPECT_EQ(ended, 1u);
  EXPECT_EQ(sessions_at(pool(20)), 0u);
  EXPECT_EQ(sessions_at(pool(8)), 1u) << "what the second has opened by the pool goes on";
  EXPECT_FALSE(states_->current().pair_of(second.address)->is_draining);
  ASSERT_NE(states_->current().pair_at(pool(20)), nullptr);
  EXPECT_EQ(states_->current().pair_at(pool(20))->internal, second.address);
}

TEST_F(LiveNatTest, WaitsForItsTurnWhileAnotherFlushIsUnderWay) {
  start(with("addresses: [203.0.113.8]"));
  open(at("10.1.0.5", 1000));
  auto other = turns_.take();
  set_out(with("addresses: [203.0.113.9]"));
  for (unsigned ticks = 0; ticks < 20; ++ticks) EXPECT_EQ(tick(), std::nullopt);
  EXPECT_EQ(sessions_at(pool(8)), 1u);
  other.reset();
  std::optional<std::uint64_t> ended;
  for (unsigned ticks = 0; !ended && ticks < 100; ++ticks) ended = tick();
  EXPECT_EQ(ended, 1u);
}

// Networks a and b on two uplinks; b has a pool.
config::Config on_two_uplinks() {
  const auto loaded = config::load_config_text(
      "uplinks:\n"
      "- {name: wan1, device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1}\n"
      "- {name: wan2, device: eth1, address: 192.0.2.2/24, gateway: 192.0.2.1}\n"
      "networks:\n"
      "- {name: a, address: 10.1.0.1/24}\n"
      "- {name: b, address: 10.2.0.1/24, nat: {addresses: [203.0.113.200]}}\n",
      "test.yaml");
  return loaded.value();
}

TEST_F(LiveNatTest, ANetworkThatChangesItsUplinkLosesItsSessionsButThoseOfItsPool) {
  const auto second = net::Ipv4Addr::of(192, 0, 2, 2);
  ways_ = {0, 0};
  start(on_two_uplinks());
  EXPECT_EQ(open(at("10.1.0.5", 1000)), pool(2));
  EXPECT_EQ(open(at("10.2.0.5", 1000), 1), pool(200));
  ways_ = {1, 1};
  set_out(on_two_uplinks());
  EXPECT_EQ(tick(1), std::nullopt) << "a worker has not seen it";
  const auto& closing = states_->current();
  EXPECT_EQ(closing.uplink_port(0), 1);
  EXPECT_TRUE(closing.networks[0].is_moving);
  EXPECT_TRUE(closing.is_external_at(pool(200), 1) && !closing.is_external_at(pool(200), 0));
  EXPECT_TRUE(closing.is_external_at(pool(2), 0) && !closing.is_external_at(pool(2), 1));
  EXPECT_EQ(sessions_at(pool(2)), 1u);
  std::optional<std::uint64_t> ended;
  for (unsigned ticks = 0; !ended && ticks < 100; ++ticks) ended = tick();
  EXPECT_EQ(ended, 1u);
  EXPECT_EQ(sessions_at(pool(2)), 0u);
  EXPECT_EQ(sessions_at(pool(200)), 1u);
  EXPECT_FALSE(states_->current().networks[0].is_moving);
  EXPECT_EQ(open(at("10.1.0.5", 1000)), second);
}

TEST_F(LiveNatTest, NetworksThatHaveAddressesOfTheirOwnMoveAtOnce) {
  ways_ = {0, 0};
  start(on_two_uplinks());
  EXPECT_EQ(open(at("10.2.0.5", 1000), 1), pool(200));
  ways_ = {0, 1};
  EXPECT_EQ(change_to(on_two_uplinks()), 0u);
  EXPECT_EQ(states_->current().uplink_port(1), 1);
  EXPECT_EQ(states_->current().uplink_port(0), 0);
  EXPECT_EQ(sessions_at(pool(200)), 1u);
}

}  // namespace
}  // namespace vmnat::control
