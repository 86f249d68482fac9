// SPDX-License-Identifier: Apache-2.0
// Sessions of one Nat go on in another, from its records alone.
#include <set>

#include "tests/conntrack/fixture.h"

namespace vmnat::conntrack {
namespace {

const net::Endpoint kVm = endpoint("192.168.122.10", 40000);
const net::Endpoint kOther = endpoint("192.168.122.11", 40000);
const net::Endpoint kServer = endpoint("198.51.100.1", 443);
const net::Endpoint kPeer = endpoint("198.51.100.2", 5000);
const net::MacAddr kMac{{0x52, 0x54, 0, 0xaa, 0, 1}};

// A Nat whose records can be read when it is gone.
struct Before {
  explicit Before(NatPolicy policy = {}, unsigned workers = 1)
      : records(std::size_t{workers} * 64), nat(shape(workers, records), policy) {}
  static NatShape shape(unsigned workers, std::span<Session> records) {
    return {.capacity = 64, .workers = workers, .records = records};
  }
  // As control finds them after the process has ended.
  [[nodiscard]] std::vector<Former> formers() const {
    std::vector<Former> formers;
    for (const Session& record : records)
      if (record.in_use()) formers.push_back({.record = record, .policy = 0, .vm_port = record.vm_port()});
    return formers;
  }

  std::vector<Session> records;
  Nat nat;
};

Revivals restore(Nat& nat, std::span<const Former> formers, Time now = {}, unsigned workers = 1,
                 WorkerIndex worker = 0) {
  Revivals counts{};
  for (unsigned i = 0; i < workers; ++i) nat.worker(i).begin_restore();
  for (; !formers.empty(); formers = formers.subspan(std::min<std::size_t>(formers.size(), 3)))
    nat.worker(worker).restore(formers.first(std::min<std::size_t>(formers.size(), 3)), now, counts);
  for (unsigned i = 0; i < workers; ++i) nat.worker(i).end_restore();
  EXPECT_EQ(nat.broken_invariant(), "");
  return counts;
}

unsigned count_of(const Revivals& counts, Revival revival) {
  return counts[static_cast<unsigned>(revival)];
}

// What operators see of it.
auto facts(const SessionView& view) {
  return std::tuple(FlowKey::pack(view.internal), FlowKey::pack(view.external), FlowKey::pack(view.remote),
                    view.protocol, view.state, view.vm_port, view.last_seen.time_since_epoch().count(),
                    view.expires.time_since_epoch().count(), view.packets_out, view.packets_in,
                    view.bytes_out, view.bytes_in);
}
auto facts_of(const Conntrack& conntrack) {
  std::set<decltype(facts(SessionView{}))> all;
  for (const SessionView& view : views_of(conntrack)) all.insert(facts(view));
  return all;
}

void open_one_of_each(Nat& nat) {
  Session* tcp = nat.open(kVm, kServer, kTcp, at_seconds(10), 1);
  nat->move_to(*tcp, 1, kMac);
  follow_tcp(*nat, *tcp, kIn, {.sequence = 7000, .acknowledged = 1, .payload = 0, .flags = kSyn | kAck},
             at_seconds(11));
  follow_tcp(*nat, *tcp, kOut, {.sequence = 1, .acknowledged = 7001, .payload = 0, .flags = kAck},
             at_seconds(11));
  for (unsigned i = 0; i < 300'000; ++i) count(*tcp, kOut, 1500);  // beyond the low bits of the packets
  count(*tcp, kIn, 60);
  nat.open(kVm, kPeer, kUdp, at_seconds(12), 1);
  nat.open(kOther, kPeer, kUdp, at_seconds(13), 2);
  nat.open(endpoint("192.168.122.10", 77), endpoint("198.51.100.1", 0), kIcmp, at_seconds(14), 1);
  nat.open(endpoint("192.168.122.12", 0), endpoint("198.51.100.1", 0), kGre, at_seconds(15), 3);
}

TEST(Restore, SessionsGoOnAsTheyWere) {
  Before before;
  open_one_of_each(before.nat);
  Nat after;
  const Revivals counts = restore(after, before.formers(), at_seconds(20));
  EXPECT_EQ(count_of(counts, Revival::Restored), 5u);
  EXPECT_EQ(facts_of(*after), facts_of(*before.nat));
  const Statistics statistics = after->statistics();
  EXPECT_EQ(statistics.active, 5u);
  EXPECT_EQ(statistics.restored, 5u);
  EXPECT_EQ(statistics.created, 0u);
  EXPECT_EQ(statistics.mappings, before.nat->statistics().mappings);
  for (const Former& former : before.formers()) {
    const Session* session = after->find(former.record.outbound_key());
    ASSERT_NE(session, nullptr);
    EXPECT_EQ(session, after->find(former.record.inbound_key()));
    EXPECT_EQ(session->internal_mac(), former.record.internal_mac());
    EXPECT_EQ(session->sequence(), former.record.sequence());
    EXPECT_EQ(session->rewrite<kOut>().l4_delta.raw(), former.record.rewrite<kOut>().l4_delta.raw());
    EXPECT_EQ(session->rewrite<kIn>().address_delta.raw(), former.record.rewrite<kIn>().address_delta.raw());
  }
}

TEST(Restore, AMappingIsSharedAgainAndItsPortIsNobodyElses) {
  Before before;
  const Session* first = before.nat.open(kVm, kServer);
  Nat after;
  restore(after, before.formers());
  EXPECT_EQ(after.open(kVm, kPeer)->external(), first->external());
  EXPECT_NE(after.open(kOther, kPeer)->external().port, first->external().port);
  EXPECT_EQ(after.broken_invariant(), "");
}

TEST(Restore, RestoredSessionsEndLikeOthers) {
  Before before;
  open_one_of_each(before.nat);
  Nat after;
  restore(after, before.formers(), at_seconds(20));
  after.expire_all(at_seconds(20 + 3 * 3600));
  EXPECT_EQ(after->statistics().active, 0u);
  EXPECT_EQ(after->statistics().mappings, 0u);
  EXPECT_EQ(after.broken_invariant(), "");
}

TEST(Restore, WhatHasTimedOutMeanwhileEnds) {
  Before before;
  before.nat.open(kVm, kPeer, kUdp, at_seconds(100));
  Nat at_the_end, just_before;
  EXPECT_EQ(count_of(restore(at_the_end, before.formers(), at_seconds(400)), Revival::TimedOut), 1u);
  EXPECT_EQ(count_of(restore(just_before, before.formers(), at_seconds(399)), Revival::Restored), 1u);
}

TEST(Restore, WhatWasSeenInTheFutureWasSeenNow) {
  Before before;
  before.nat.open(kVm, kPeer, kUdp, at_seconds(100));
  Nat after;
  EXPECT_EQ(count_of(restore(after, before.formers(), at_seconds(50)), Revival::Restored), 1u);
  EXPECT_EQ(views_of(*after).at(0).last_seen, at_seconds(50));
}

TEST(Restore, ASecondSessionWithOneKeyIsLeftOut) {
  Before before, another;
  before.nat.open(kVm, kServer);
  another.nat.open(kOther, kServer);  // by the same external port, in a Nat of its own
  std::vector<Former> formers = before.formers();
  formers.push_back(formers[0]);
  formers.push_back(another.formers()[0]);
  Nat after;
  const Revivals counts = restore(after, formers);
  EXPECT_EQ(count_of(counts, Revival::Restored), 1u);
  EXPECT_EQ(count_of(counts, Revival::Damaged), 2u);
}

TEST(Restore, OneMappingHasOneInternalEndpoint) {
  Before before, another;
  before.nat.open(kVm, kServer);
  another.nat.open(kOther, kPeer);  // the same external port, towards another remote
  std::vector<Former> formers = before.formers();
  formers.push_back(another.formers()[0]);
  Nat after;
  EXPECT_EQ(count_of(restore(after, formers), Revival::Damaged), 1u);
}

TEST(Restore, WhereTheConfigurationHasNoSuchAddressOrPortItEnds) {
  Before before;
  before.nat.open(kVm, kServer);
  Nat reserved({.reserved = {40000}}), narrow({.first_port = 50000});
  EXPECT_EQ(count_of(restore(reserved, before.formers()), Revival::NotExternal), 1u);
  EXPECT_EQ(count_of(restore(narrow, before.formers()), Revival::NotExternal), 1u);
  Nat with_two({.addresses = 2});
  Session* session = nullptr;
  for (unsigned i = 0; session == nullptr || session->external().address == Nat::external_address(0); ++i)
    session = with_two.open({net::Ipv4Addr::from_host(0xc0a87a20 + i), kVm.port}, kServer);
  const Former former{.record = *session};
  Nat with_one;
  EXPECT_EQ(count_of(restore(with_one, {&former, 1}), Revival::NotExternal), 1u);
}

TEST(Restore, AForwardsSessionsNeedNoPortOfThePool) {
  Before before;
  const auto external = net::Endpoint{Nat::external_address(0), net::L4Port::from_host(8080)};
  ASSERT_NE(before.nat.try_forward(external, kVm, kServer, kTcp, 1).session, nullptr);
  std::vector<Former> formers = before.formers();
  formers[0].is_forwarded = true;
  Nat after({.reserved = {8080}});
  EXPECT_EQ(count_of(restore(after, formers), Revival::Restored), 1u);
  EXPECT_EQ(sessions_of(*after, 1, kIn), 1u);
  EXPECT_EQ(after->ports_used(0, PortSpace::Tcp), 0u);
  formers[0].is_forwarded = false;  // the forward is gone, its port still reserved
  Nat without({.reserved = {8080}});
  EXPECT_EQ(count_of(restore(without, formers), Revival::NotExternal), 1u);
}

TEST(Restore, ASmallerTableTakesWhatFits) {
  Before before;
  for (unsigned i = 0; i < 20; ++i) before.nat.open(endpoint("192.168.122.10", 2000 + i), kServer);
  Nat after({.capacity = 8});
  const Revivals counts = restore(after, before.formers());
  EXPECT_EQ(count_of(counts, Revival::Restored), 8u);
  EXPECT_EQ(count_of(counts, Revival::NoRoom), 12u);
}

TEST(Restore, PermissionsFollowFromTheSessionsAndThePolicy) {
  Before before;  // filters by address and port: nobody is permitted anything
  before.nat.open(kVm, kServer);
  Nat after({}, {.filtering = Filtering::AddressDependent});
  restore(after, before.formers());
  const net::Endpoint external{Nat::external_address(0), kVm.port};
  EXPECT_TRUE(after->admits(FlowKey::of(external, endpoint("198.51.100.1", 9), kUdp), 0));
  EXPECT_FALSE(after->admits(FlowKey::of(external, endpoint("198.51.100.9", 9), kUdp), 0));
}

TEST(Restore, OverloadedPortsAreSharedByTheSameSessions) {
  Before before;
  const NatShape narrow{.first_port = 2000, .last_port = 2001, .capacity = 64, .records = before.records};
  Nat crowded(narrow);
  for (unsigned i = 0; i < 10; ++i)
    ASSERT_NE(crowded.open(endpoint("192.168.122.10", 3000 + i),
                           {net::Ipv4Addr::from_host(0xc6336401 + i), kServer.port}),
              nullptr);
  Nat after({.first_port = 2000, .last_port = 2001});
  EXPECT_EQ(count_of(restore(after, before.formers()), Revival::Restored), 10u);
  EXPECT_EQ(facts_of(*after), facts_of(*crowded));
  EXPECT_EQ(after->ports_used(0, PortSpace::Udp), 2u);
}

TEST(Restore, ABlockIsOneWorkersAlone) {
  Before before;
  before.nat.open(kVm, kServer);
  before.nat.open(endpoint("192.168.122.11", 40001), kServer);
  const std::vector<Former> formers = before.formers();
  Nat after({.workers = 2});
  Revivals counts{};
  for (unsigned i = 0; i < 2; ++i) after.worker(i).begin_restore();
  for (unsigned i = 0; i < 2; ++i) after.worker(i).restore({&formers[i], 1}, {}, counts);
  for (unsigned i = 0; i < 2; ++i) after.worker(i).end_restore();
  EXPECT_EQ(count_of(counts, Revival::Restored), 1u);
  EXPECT_EQ(count_of(counts, Revival::PortTaken), 1u);
  EXPECT_EQ(after.ports().owner(0, net::L4Port::from_host(40001)), 0);
  EXPECT_EQ(after.broken_invariant(), "");
}

// Whatever blocks workers would have taken by chance, none is in the way of the sessions.
TEST(Restore, EveryWorkerHasTheBlocksOfItsSessions) {
  for (std::uint64_t seed = 1; seed < 200; ++seed) {
    Before before;
    before.nat.open(endpoint("192.168.122.10", 1030), kServer);
    Nat after({.first_port = 1024, .last_port = 1279, .workers = 3, .seed = seed});  // four blocks
    EXPECT_EQ(count_of(restore(after, before.formers(), {}, 3, 2), Revival::Restored), 1u);
    EXPECT_EQ(after.ports().owner(0, net::L4Port::from_host(1030)), 2);
    for (unsigned i = 0; i < 3; ++i)
      EXPECT_NE(after.worker(i).open_outbound({.key = FlowKey::of(kOther, kPeer, kUdp)}, 0, {}).session,
                nullptr);
  }
}

TEST(Restore, AQueryIsSoundWhoeverAsks) {
  for (const std::uint16_t remote_port : {0, 0xffff, 7}) {
    Session record;
    record.open({.internal = endpoint("192.168.122.10", 77),
                 .external = endpoint("203.0.113.20", 77),
                 .remote = endpoint("198.51.100.7", remote_port),
                 .protocol = net::Protocol::Icmp,
                 .policy = 0},
                SessionState::OpenIcmp, 0, Time{});
    EXPECT_EQ(record.is_sound(), remote_port != 7) << remote_port;
  }
}

TEST(Restore, ARecordIsSoundUntilItContradictsItself) {
  Before before;
  open_one_of_each(before.nat);
  for (const Former& former : before.formers()) {
    EXPECT_TRUE(former.record.is_sound());
    EXPECT_FALSE(former.record.is_torn());
    Session moved = former.record;
    moved.set_state(former.record.protocol() == kTcp ? SessionState::OpenUdp : SessionState::Established);
    EXPECT_FALSE(moved.is_sound());
  }
}

}  // namespace
}  // namespace vmnat::conntrack
