// SPDX-License-Identifier: Apache-2.0
// Policies with several pools, and flows that are not translated.
//
//   pool 0: 203.0.113.8, .9     pool 1: .10     pool 2: .11, .12
#include <set>

#include "tests/conntrack/fixture.h"

namespace vmnat::conntrack {
namespace {

net::Ipv4Addr nth(unsigned i) {
  return net::Ipv4Addr::of(203, 0, 113, static_cast<std::uint8_t>(8 + i));
}
const std::vector<std::set<net::Ipv4Addr>> kPools{{nth(0), nth(1)}, {nth(2)}, {nth(3), nth(4)}};

struct Pools {
  explicit Pools(NatPolicy of = {}, unsigned first = 1024, unsigned last = 65535)
      : policy(std::move(of)), addresses(entries(first, last)), ports(ExternalPorts::create(5, 1)) {
    policy.addresses = {0, 1};
    policy.more_pools = {{2}, {3, 4}};
    policy.pools_by_address = {0, 0, 1, 2, 2};
    table = Conntrack::create({.capacity = 1024, .seed = 3}, *ports, addresses, {&policy, 1});
  }
  ~Pools() {
    std::string why;
    EXPECT_TRUE(table->check_invariants(&why)) << why;
  }
  Pools(const Pools&) = delete;
  Pools& operator=(const Pools&) = delete;
  static ExternalAddresses entries(unsigned first, unsigned last) {
    const auto some = std::make_shared<const AllowedPorts>(
        static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(last), std::vector<std::uint16_t>{});
    return ExternalAddresses(
        {{nth(0), some}, {nth(1), some}, {nth(2), some}, {nth(3), some}, {nth(4), some}});
  }
  Opened open(net::Endpoint internal, net::Endpoint remote, PoolIndex pool, net::Protocol protocol = kUdp) {
    return table->open_outbound(
        {.key = FlowKey::of(internal, remote, protocol), .tcp_flags = kSyn, .pool = pool}, 0, {});
  }
  Opened open_untranslated(net::Endpoint internal, net::Endpoint remote, net::Protocol protocol = kUdp) {
    return table->open_outbound(
        {.key = FlowKey::of(internal, remote, protocol), .tcp_flags = kSyn, .own_address = internal.address},
        0, {});
  }

  NatPolicy policy;
  ExternalAddresses addresses;
  std::unique_ptr<ExternalPorts> ports;
  std::unique_ptr<Conntrack> table;
};

const net::Endpoint kHere = endpoint("192.168.122.10", 5000), kThere = endpoint("198.51.100.1", 443);

TEST(Pools, EachFlowHasAnAddressOfItsPoolWhateverTheProtocol) {
  Pools nat;
  for (unsigned vm = 10; vm < 40; ++vm)
    for (PoolIndex pool = 0; pool < 3; ++pool)
      for (const auto protocol : {kTcp, kUdp, kIcmp, kGre}) {
        const std::string remote = "198.51." + std::to_string(vm) + "." + std::to_string(pool);
        const bool has_ports = protocol == kTcp || protocol == kUdp;
        const auto internal = endpoint("192.168.122." + std::to_string(vm), protocol == kGre ? 0 : 5000);
        const Session* session =
            nat.open(internal, endpoint(remote, has_ports ? 443 : 0), pool, protocol).session;
        ASSERT_NE(session, nullptr);
        EXPECT_TRUE(kPools[pool].contains(session->external().address));
      }
}

TEST(Pools, AnEndpointHasOneMappingInEachPool) {
  Pools nat;
  for (unsigned turn = 0; turn < 3; ++turn)
    for (PoolIndex pool = 0; pool < 3; ++pool)
      ASSERT_NE(
          nat.open(kHere, endpoint("198.51.100." + std::to_string(1 + 10 * turn + pool), 443), pool).session,
          nullptr);
  std::set<net::Endpoint> external;
  for (const SessionView& view : views_of(*nat.table)) external.insert(view.external);
  EXPECT_EQ(external.size(), 3u) << "RFC 4787 REQ-1 in each";
  EXPECT_EQ(nat.table->statistics().mappings, 3u);
}

TEST(Pools, AnInternalAddressStaysOnOneAddressOfAPool) {
  Pools nat;
  std::set<net::Ipv4Addr> addresses;
  for (unsigned port = 1; port < 50; ++port)
    addresses.insert(
        nat.open(endpoint("192.168.122.10", 6000 + port), kThere, 2).session->external().address);
  EXPECT_EQ(addresses.size(), 1u) << "RFC 6888 REQ-2";
}

TEST(Pools, APoolThatIsUsedUpTakesNothingFromOthers) {
  for (const bool overload : {true, false}) {
    Pools nat({.overload = overload}, 2000, 2003);
    for (unsigned i = 0; i < 4; ++i)
      ASSERT_NE(nat.open(endpoint("192.168.122.10", 5000 + i), kThere, 1).session, nullptr);
    EXPECT_EQ(nat.open(endpoint("192.168.122.10", 5004), kThere, 1).verdict, Verdict::NoFreePort);
    const Opened other = nat.open(endpoint("192.168.122.10", 5005), endpoint("198.51.100.2", 443), 1);
    EXPECT_EQ(other.session != nullptr, overload);
    EXPECT_NE(nat.open(endpoint("192.168.122.10", 5004), kThere, 0).session, nullptr);
  }
}

TEST(Pools, BlocksOfPortsAreGivenInEachPool) {
  Pools nat({.block_ports = 64});
  for (PoolIndex pool = 0; pool < 3; ++pool) {
    const Session* first = nat.open(endpoint("192.168.122.10", 7000), kThere, pool).session;
    nat.table->erase(*const_cast<Session*>(first), {});
    const auto remote = endpoint("198.51.100." + std::to_string(20 + pool), 443);
    const Session* session = nat.open(endpoint("192.168.122.10", 7000), remote, pool).session;
    ASSERT_NE(session, nullptr);
    EXPECT_TRUE(kPools[pool].contains(session->external().address));
  }
}

TEST(Pools, SessionsOfAllPoolsGoOnInTheNextProcess) {
  std::vector<Former> formers;
  {
    Pools before;
    for (PoolIndex pool = 0; pool < 3; ++pool)
      formers.push_back({.record = *before.open(kHere, endpoint("198.51.100.7", 400u + pool), pool).session});
  }
  Pools after;
  Revivals counts{};
  after.table->begin_restore();
  after.table->restore(formers, {}, counts);
  after.table->end_restore();
  EXPECT_EQ(counts[static_cast<unsigned>(Revival::Restored)], 3u);
  for (PoolIndex pool = 0; pool < 3; ++pool)
    EXPECT_EQ(after.open(kHere, endpoint("198.51.100.8", 400u + pool), pool).session->external(),
              formers[pool].record.external())
        << "the mapping is shared again";
}

TEST(Untranslated, TheInternalEndpointIsTheExternalOneAndOneKeyFindsTheSession) {
  Pools nat;
  for (const auto protocol : {kTcp, kUdp, kIcmp, kGre}) {
    const auto remote = endpoint("198.51.100.1", protocol == kTcp || protocol == kUdp ? 443 : 0);
    const auto internal = endpoint("192.168.122.10", protocol == kGre ? 0 : 5000);
    Session* session = nat.open_untranslated(internal, remote, protocol).session;
    ASSERT_NE(session, nullptr);
    EXPECT_TRUE(session->is_untranslated());
    EXPECT_EQ(session->external(), internal);
    EXPECT_EQ(session->outbound_key(), session->inbound_key());
    EXPECT_EQ(nat.table->find(FlowKey::of(internal, remote, protocol)), session);
    const std::array keys{FlowKey::of(internal, remote, protocol)};
    std::array<Session*, 1> found{};
    EXPECT_EQ(nat.table->find_burst(keys, found.data()), 1u);
    EXPECT_EQ(found[0], session);
  }
  for (ExternalIndex external = 0; external < 5; ++external) EXPECT_EQ(nat.table->sessions_at(external), 0u);
  EXPECT_EQ(nat.table->statistics().active, 4u);
}

TEST(Untranslated, SessionsEndByTheirTimeoutAndByHandAndLeaveNothing) {
  Pools nat;
  for (unsigned i = 0; i < 200; ++i) nat.open_untranslated(endpoint("192.168.122.10", 1 + i), kThere);
  nat.open(kHere, kThere, 0);
  nat.table->erase(*nat.table->find(FlowKey::of(endpoint("192.168.122.10", 7), kThere, kUdp)), {});
  EXPECT_EQ(nat.table->statistics().active, 200u);
  for (unsigned second = 0; second < 9; ++second) nat.table->expire(at_seconds(400 + second), ~0u);
  EXPECT_EQ(nat.table->statistics().active, 0u);
  EXPECT_EQ(nat.table->find(FlowKey::of(endpoint("192.168.122.10", 8), kThere, kUdp)), nullptr);
}

TEST(Untranslated, ChecksumsStayAsTheyAre) {
  Pools nat;
  const Session* session = nat.open_untranslated(kHere, kThere, kTcp).session;
  for (const unsigned sum : {1u, 0x1234u, 0xfffeu}) {
    const auto checksum = net::Be16::from_host(static_cast<std::uint16_t>(sum));
    EXPECT_EQ(session->rewrite<kOut>().l4_delta.applied_to(checksum).host(), sum);
    EXPECT_EQ(session->rewrite<kIn>().address_delta.applied_to(checksum).host(), sum);
  }
}

TEST(Untranslated, GoOnInTheNextProcessWhereTheyAreStillExempt) {
  Former former;
  {
    Pools before;
    former.record = *before.open_untranslated(kHere, kThere).session;
  }
  for (const bool is_exempt : {true, false}) {
    Pools after;
    Revivals counts{};
    former.is_forwarded = is_exempt;
    after.table->begin_restore();
    after.table->restore({&former, 1}, {}, counts);
    after.table->end_restore();
    EXPECT_EQ(counts[static_cast<unsigned>(is_exempt ? Revival::Restored : Revival::NotExternal)], 1u);
  }
}

}  // namespace
}  // namespace vmnat::conntrack
