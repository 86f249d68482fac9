// SPDX-License-Identifier: Apache-2.0
// An external address that is one internal address's alone: 203.0.113.9 is 192.168.122.20's, .8 is everybody's.
#include "tests/conntrack/fixture.h"

namespace vmnat::conntrack {
namespace {

const net::Ipv4Addr kShared = net::Ipv4Addr::of(203, 0, 113, 8), kOwn = net::Ipv4Addr::of(203, 0, 113, 9);

struct Workers {
  explicit Workers(unsigned count = 1, NatPolicy of = {})
      : policy(std::move(of)),
        addresses({{kShared, std::make_shared<const AllowedPorts>(2000, 2003, std::vector<std::uint16_t>{})},
                   {kOwn, std::make_shared<const AllowedPorts>()}}),
        ports(ExternalPorts::create(2, count)) {
    policy.addresses = {0};
    for (unsigned i = 0; i < count; ++i)
      tables.push_back(
          Conntrack::create({.capacity = 256, .seed = i + 1, .worker = static_cast<WorkerIndex>(i)}, *ports,
                            addresses, {&policy, 1}));
  }
  ~Workers() {
    std::string why;
    for (const auto& table : tables) EXPECT_TRUE(table->check_invariants(&why)) << why;
  }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  Opened open(net::Endpoint internal, net::Endpoint remote, net::Protocol protocol, unsigned worker = 0) {
    return tables[worker]->open_outbound(
        {.key = FlowKey::of(internal, remote, protocol), .tcp_flags = kSyn, .own_address = kOwn}, 0, {});
  }
  Opened let_in(net::Endpoint external, net::Endpoint remote, net::Protocol protocol, unsigned worker = 0) {
    const InboundFlow flow{.key = FlowKey::of(external, remote, protocol),
                           .forward_to = endpoint("192.168.122.20", external.port.host()),
                           .tcp_flags = kSyn};
    return tables[worker]->open_inbound(flow, 0, {});
  }

  NatPolicy policy;
  ExternalAddresses addresses;
  std::unique_ptr<ExternalPorts> ports;
  std::vector<std::unique_ptr<Conntrack>> tables;
};

TEST(StaticNat, EveryPortAndIdentifierIsKeptAndNoneIsTakenFromThePool) {
  for (const auto mapping : {Mapping::EndpointIndependent, Mapping::EndpointDependent}) {
    Workers nat(1, {.mapping = mapping});
    for (const auto protocol : {kTcp, kUdp, kIcmp})
      for (const unsigned port : {1, 80, 2000, 65535}) {
        const unsigned remote_port = protocol == kIcmp ? 0 : 443;
        const auto remote = endpoint("198.51.100.1", remote_port);
        const auto internal = endpoint("192.168.122.20", port);
        const Session* session = nat.open(internal, remote, protocol).session;
        ASSERT_NE(session, nullptr);
        EXPECT_EQ(session->external(), net::Endpoint(kOwn, internal.port));
        EXPECT_EQ(nat.let_in({kOwn, internal.port}, remote, protocol).session, session) << "both ways";
      }
    for (const auto space : {PortSpace::Tcp, PortSpace::Udp, PortSpace::Icmp})
      EXPECT_EQ(nat.tables[0]->ports_used(0, space) + nat.tables[0]->ports_used(1, space), 0u);
    EXPECT_EQ(nat.tables[0]->sessions_at(1), 12u);
    EXPECT_EQ(nat.tables[0]->statistics().mappings, 0u);
  }
}

TEST(StaticNat, ItHasMoreFlowsThanAnyPoolTowardsOneRemoteAndAsManyTowardsOthers) {
  Workers nat;
  for (unsigned i = 0; i < 100; ++i) {
    const auto internal = endpoint("192.168.122.20", 5000 + i);
    for (const char* remote : {"198.51.100.1", "198.51.100.2"})
      EXPECT_EQ(nat.open(internal, endpoint(remote, 443), kUdp).verdict, Verdict::Opened);
  }
  EXPECT_EQ(nat.tables[0]->statistics().overloaded, 0u);
}

TEST(StaticNat, ARemoteOpensWhateverTheFilterSaysAndNothingOfItIsAMapping) {
  Workers nat(1, {.filtering = Filtering::AddressAndPortDependent});
  const Opened opened = nat.let_in({kOwn, net::L4Port::from_host(22)}, endpoint("198.51.100.1", 5000), kTcp);
  ASSERT_NE(opened.session, nullptr);
  EXPECT_EQ(opened.session->internal(), endpoint("192.168.122.20", 22));
  EXPECT_EQ(opened.session->opener(), kIn);
  EXPECT_EQ(nat.tables[0]->mapped_internal({kOwn, net::L4Port::from_host(22)}, kTcp), std::nullopt);
  EXPECT_EQ(nat.open(endpoint("192.168.122.20", 22), endpoint("198.51.100.1", 5000), kTcp).session,
            opened.session);
}

TEST(StaticNat, AMappingOfBeforeStaysWithItsSessionsAndNewOnesHaveTheOwnAddress) {
  Workers nat;
  const auto internal = endpoint("192.168.122.20", 2001);
  const auto before = FlowKey::of(internal, endpoint("198.51.100.1", 443), kUdp);
  Session* session = nat.tables[0]->open_outbound({.key = before}, 0, {}).session;
  ASSERT_NE(session, nullptr);
  EXPECT_EQ(session->external().address, kShared);
  EXPECT_EQ(nat.open(internal, endpoint("198.51.100.1", 443), kUdp).session, session);
  EXPECT_EQ(nat.open(internal, endpoint("198.51.100.2", 443), kUdp).session->external().address, kOwn);
}

TEST(StaticNat, ProtocolsWithoutPortsAreTheRemotesWorkersWhoeverBegins) {
  Workers nat(2);
  for (unsigned last = 1; last < 30; ++last) {
    const auto remote = endpoint("198.51.100." + std::to_string(last), 0);
    const auto internal = endpoint("192.168.122.20", 0);
    const WorkerIndex owner = nat.ports->portless_owner(remote.address);
    EXPECT_EQ(nat.open(internal, remote, kGre, 1u - owner).verdict, Verdict::OtherWorker);
    const Opened opened =
        last % 2 == 0 ? nat.open(internal, remote, kGre, owner) : nat.let_in({kOwn, {}}, remote, kGre, owner);
    ASSERT_NE(opened.session, nullptr);
    EXPECT_EQ(opened.session->external(), net::Endpoint(kOwn, net::L4Port{}));
  }
}

TEST(StaticNat, WhileAnotherStillHasTheEndpointTowardsARemoteTheFlowIsRefused) {
  Workers nat;
  const auto remote = endpoint("198.51.100.1", 443);
  const FlowKey inbound = FlowKey::of({kOwn, net::L4Port::from_host(5000)}, remote, kUdp);
  const InboundFlow others{.key = inbound, .forward_to = endpoint("192.168.122.99", 5000)};
  ASSERT_NE(nat.tables[0]->open_inbound(others, 0, {}).session, nullptr);
  EXPECT_EQ(nat.open(endpoint("192.168.122.20", 5000), remote, kUdp).verdict, Verdict::NoFreePort);
}

TEST(StaticNat, SessionsOfAnEarlierProcessGoOnWhereTheAddressIsStillTheVms) {
  std::vector<Former> formers;
  {
    Workers before;
    for (const auto protocol : {kTcp, kUdp, kIcmp, kGre}) {
      const bool has_port = protocol != kGre;
      const auto remote = endpoint("198.51.100.1", protocol == kTcp || protocol == kUdp ? 443 : 0);
      const Session* session =
          before.open(endpoint("192.168.122.20", has_port ? 5000 : 0), remote, protocol).session;
      ASSERT_NE(session, nullptr);
      formers.push_back({.record = *session, .is_forwarded = true});
    }
  }
  for (const bool is_still_the_vms : {true, false}) {
    Workers after;
    Revivals counts{};
    for (Former& former : formers) former.is_forwarded = is_still_the_vms;
    after.tables[0]->begin_restore();
    after.tables[0]->restore(formers, {}, counts);
    after.tables[0]->end_restore();
    const Revival expected = is_still_the_vms ? Revival::Restored : Revival::NotExternal;
    EXPECT_EQ(counts[static_cast<unsigned>(expected)], 4u);
    EXPECT_EQ(after.tables[0]->sessions_at(1), is_still_the_vms ? 4u : 0u);
    EXPECT_EQ(after.tables[0]->ports_used(1, PortSpace::Udp), 0u);
  }
}

}  // namespace
}  // namespace vmnat::conntrack
