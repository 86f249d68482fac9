// SPDX-License-Identifier: Apache-2.0
// External addresses that come, drain and go, and ports that are reserved, while sessions open and end: tables
// by themselves, single decisions, and a random walk of two workers that is judged by a model.
#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "tests/conntrack/fixture.h"

namespace vmnat::conntrack {
namespace {

using Entry = ExternalAddresses::Entry;

std::shared_ptr<const AllowedPorts> ports(unsigned first, unsigned last,
                                          std::vector<std::uint16_t> reserved = {}) {
  return std::make_shared<const AllowedPorts>(static_cast<std::uint16_t>(first),
                                              static_cast<std::uint16_t>(last), reserved);
}
net::L4Port port(unsigned number) {
  return net::L4Port::from_host(static_cast<std::uint16_t>(number));
}
net::Ipv4Addr nth_address(unsigned i) {
  return Nat::external_address(i);
}

TEST(AllowedPorts, AreARangeWithoutWhatIsReserved) {
  const AllowedPorts allowed(1024, 1151, std::vector<std::uint16_t>{1030, 5});
  EXPECT_FALSE(allowed.contains(port(1023)));
  EXPECT_TRUE(allowed.contains(port(1024)));
  EXPECT_FALSE(allowed.contains(port(1030)));
  EXPECT_TRUE(allowed.contains(port(1151)));
  EXPECT_FALSE(allowed.contains(port(1152)));
  EXPECT_EQ(allowed.block_count(), 2u);
  const AllowedPorts common = AllowedPorts::common(allowed, AllowedPorts(1088, 2000, {}));
  EXPECT_EQ(common, AllowedPorts(1088, 1151, {}));
  EXPECT_EQ(common.block_count(), 1u);
  EXPECT_EQ(AllowedPorts().block_count(), 0u);
}

TEST(ExternalAddresses, RefuseWhatCannotBe) {
  const ExternalAddress good{nth_address(0), 1024, 65535, {}};
  const ExternalAddress reversed{nth_address(1), 2000, 1999, {}}, zero{nth_address(1), 0, 65535, {}};
  EXPECT_NE(ExternalAddresses::of({&good, 1}), nullptr);
  EXPECT_EQ(ExternalAddresses::of({}), nullptr);
  EXPECT_EQ(ExternalAddresses::of({&reversed, 1}), nullptr);
  EXPECT_EQ(ExternalAddresses::of({&zero, 1}), nullptr);
  EXPECT_EQ(ExternalAddresses::of(std::vector<ExternalAddress>{good, good}), nullptr);
  EXPECT_EQ(ExternalAddresses::of(std::vector<ExternalAddress>(2)), nullptr) << "one that is rented at most";
}

TEST(ExternalAddresses, FindEachOfManyAndNoneThatIsNotThere) {
  std::vector<Entry> entries;
  for (unsigned i = 0; i < 1000; ++i)
    entries.push_back(i % 7 == 3 ? Entry{} : Entry{nth_address(i * 3), ports(1024, 65535)});
  const ExternalAddresses addresses(entries);
  for (unsigned i = 0; i < 1000; ++i) {
    const auto expected = i % 7 == 3 ? std::nullopt : std::optional{static_cast<ExternalIndex>(i)};
    EXPECT_EQ(addresses.index_of(nth_address(i * 3)), expected);
    EXPECT_EQ(addresses.index_of(nth_address(i * 3 + 1)), std::nullopt);
  }
}

TEST(ExternalAddresses, ARentedOneThatIsNotHadIsFoundByNothing) {
  const ExternalAddresses without({{{}, ports(1024, 65535)}, {nth_address(1), ports(1024, 65535)}});
  EXPECT_EQ(without.index_of({}), std::nullopt);
  EXPECT_EQ(without.index_of(nth_address(1)), 1);
  EXPECT_NE(without.ports(0), nullptr) << "its ports are there";
}

// One worker and a policy that a test changes.
struct Changing {
  explicit Changing(std::vector<Entry> first)
      : addresses(std::make_shared<const ExternalAddresses>(std::move(first))),
        room(ExternalPorts::create(8, 1)) {
    policy.addresses = all();
    conntrack =
        Conntrack::create({.capacity = 4096, .seed = 5, .vm_ports = 1}, *room, *addresses, {&policy, 1});
  }
  std::vector<ExternalIndex> all() const {
    std::vector<ExternalIndex> indices;
    for (unsigned i = 0; i < addresses->size(); ++i)
      if (addresses->ports(i) != nullptr) indices.push_back(static_cast<ExternalIndex>(i));
    return indices;
  }
  void go_over(std::vector<Entry> next, std::vector<ExternalIndex> leaving = {}) {
    const auto former = std::exchange(addresses, std::make_shared<const ExternalAddresses>(std::move(next)));
    policy.addresses = all();
    for (const ExternalIndex index : leaving) std::erase(policy.addresses, index);
    policy.leaving = std::move(leaving);
    conntrack->follow(*addresses, {&policy, 1});
    std::string why;
    EXPECT_TRUE(conntrack->check_invariants(&why)) << why;
  }
  Opened open(unsigned internal_port, unsigned remote_port = 443) {
    const auto key =
        FlowKey::of(endpoint("192.168.122.10", internal_port), endpoint("198.51.100.1", remote_port), kUdp);
    return conntrack->open_outbound({.key = key}, 0, {});
  }
  Opened let_in(net::Endpoint external, unsigned remote_port) {
    return conntrack->open_inbound(
        {.key = FlowKey::of(external, endpoint("198.51.100.2", remote_port), kUdp)}, 0, {});
  }

  std::shared_ptr<const ExternalAddresses> addresses;
  std::unique_ptr<ExternalPorts> room;
  NatPolicy policy;
  std::unique_ptr<Conntrack> conntrack;
};

TEST(Following, AReservedPortStaysWithItsSessionAndIsNotGivenAgain) {
  Changing nat({{nth_address(0), ports(2000, 2063)}});
  Session* session = nat.open(2010).session;
  ASSERT_EQ(session->external(), net::Endpoint(nth_address(0), port(2010)));
  nat.go_over({{nth_address(0), ports(2000, 2063, {2010})}});
  EXPECT_EQ(nat.conntrack->find(session->outbound_key()), session) << "goes on";
  EXPECT_NE(nat.open(2010, 444).session->external().port, port(2010)) << "its endpoint is mapped anew";
  nat.conntrack->erase(*session, {});
  std::set<net::L4Port> given;
  for (unsigned i = 0; i < 200; ++i)
    if (const Opened opened = nat.open(5000 + i); opened.session != nullptr)
      given.insert(opened.session->external().port);
  EXPECT_EQ(given.size(), 63u) << "all that are left";
  EXPECT_FALSE(given.contains(port(2010)));
  nat.go_over({{nth_address(0), ports(2000, 2063)}});
  EXPECT_EQ(nat.open(2010, 445).verdict, Verdict::Opened);
}

TEST(Following, OverloadFindsAPortThatMayBeGivenAgain) {
  Changing nat({{nth_address(0), ports(2000, 2007, {2003})}});
  nat.policy.mapping = Mapping::EndpointDependent;
  unsigned opened = 0;
  for (unsigned i = 0; i < 40; ++i) opened += nat.open(5000 + i).session != nullptr;
  EXPECT_EQ(opened, 7u) << "all towards one remote";
  nat.go_over({{nth_address(0), ports(2000, 2007)}});
  EXPECT_EQ(nat.open(6000).session->external().port, port(2003));
}

TEST(Following, ADrainingAddressServesItsMappingsAndGivesNothing) {
  Changing nat({{nth_address(0), ports(2000, 2999)}});
  nat.policy.filtering = Filtering::EndpointIndependent;
  const net::Endpoint external = nat.open(2010).session->external();
  nat.go_over({{nth_address(0), ports(3000, 2999), true}});
  EXPECT_EQ(nat.open(2010, 444).session->external(), external) << "RFC 4787 REQ-1";
  EXPECT_EQ(nat.let_in(external, 9).verdict, Verdict::Opened) << "its filter lets everybody in";
  EXPECT_EQ(nat.open(2011).verdict, Verdict::NoFreePort);
  EXPECT_EQ(nat.conntrack->sessions_at(0), 3u);
  nat.go_over({{nth_address(0), ports(3000, 2999), true}, {nth_address(1), ports(2000, 2999)}});
  EXPECT_EQ(nat.open(2011).session->external().address, nth_address(1));
}

TEST(Following, NothingOpensByAnAddressThatTheNetworkLoses) {
  Changing nat({{nth_address(0), ports(2000, 2999)}});
  nat.policy.filtering = Filtering::EndpointIndependent;
  Session* session = nat.open(2010).session;
  const net::Endpoint external = session->external();
  nat.go_over({{nth_address(0), ports(3000, 2999)}, {nth_address(1), ports(2000, 2999)}}, {0});
  EXPECT_EQ(nat.let_in(external, 9).verdict, Verdict::Filtered);
  const net::Endpoint other = nat.open(2010, 444).session->external();
  EXPECT_EQ(other.address, nth_address(1));
  EXPECT_EQ(nat.open(2010, 445).session->external(), other) << "the endpoint has one mapping again";
  nat.conntrack->erase(*session, {});
  nat.go_over({{}, {nth_address(1), ports(2000, 2999)}});
  EXPECT_EQ(nat.room->owner(0, port(2010)), kNoWorker) << "its blocks are given back";
}

TEST(Following, AnotherAddressUnderTheIndexHasAllPortsAndNoneThatRests) {
  Changing nat({{nth_address(0), ports(2000, 2063)}});
  for (unsigned i = 0; i < 64; ++i) nat.conntrack->erase(*nat.open(2000 + i).session, {});
  nat.go_over({{}});
  nat.go_over({{nth_address(5), ports(2000, 2063)}});
  for (unsigned i = 0; i < 64; ++i)
    EXPECT_EQ(nat.open(2000 + i).session->external(), net::Endpoint(nth_address(5), port(2000 + i)));
}

TEST(Following, WhatIsMappedAtAPortLeavesItForWhoStays) {
  Changing nat({{nth_address(0), ports(2000, 2999)}});
  const net::Endpoint external = nat.open(2010).session->external();
  const net::Endpoint owner = endpoint("192.168.122.10", 2010);
  nat.conntrack->unmap_others(external, kUdp, owner);
  EXPECT_EQ(nat.conntrack->mapped_internal(external, kUdp), owner) << "its own stays";
  nat.conntrack->unmap_others(external, kUdp, endpoint("192.168.122.11", 80));
  EXPECT_EQ(nat.conntrack->mapped_internal(external, kUdp), std::nullopt);
  std::string why;
  EXPECT_TRUE(nat.conntrack->check_invariants(&why)) << why;
}

// Two workers, up to six addresses of a few ports, changed at random. As control does it: what goes is closed
// first, then its sessions end, then it is gone.
class Walk {
 public:
  explicit Walk(std::uint64_t seed) : random_(seed), room_(ExternalPorts::create(kRoom, 2)) {
    wanted_.resize(kRoom);
    for (unsigned i = 0; i < 2; ++i) wanted_[i] = {nth_address(i), ports(kFirst, kLast)};
    publish({});
    for (unsigned i = 0; i < 2; ++i)
      workers_.push_back(Conntrack::create(
          {.capacity = 2048, .seed = seed + i, .worker = static_cast<WorkerIndex>(i), .vm_ports = 1}, *room_,
          *tables_.back(), policies_.back()));
  }

  std::string run(unsigned steps) {
    for (unsigned step = 0; step < steps; ++step) {
      now_ += Ticks{random_() % 40};
      const std::string wrong = take_step();
      if (!wrong.empty()) return wrong + ", step " + std::to_string(step);
    }
    return changes_ < steps / 100 || opened_ < steps / 10 ? "hardly anything happened" : "";
  }

 private:
  static constexpr unsigned kRoom = 6, kFirst = 2000, kLast = 2191;

  std::string take_step() {
    const unsigned dice = random_() % 100;
    if (dice < 70) return open();
    if (dice < 96) return end_one();
    change();
    ++changes_;
    return judge();
  }

  // The workers go over one after the other, with sessions in between.
  void publish(std::vector<ExternalIndex> leaving) {
    std::vector<Entry> entries = wanted_;
    for (const ExternalIndex index : leaving) entries[index].ports = std::make_shared<const AllowedPorts>();
    tables_.push_back(std::make_shared<const ExternalAddresses>(entries));
    NatPolicy policy{.leaving = std::move(leaving)};
    for (unsigned i = 0; i < kRoom; ++i)
      if (entries[i].ports != nullptr && !policy.leaves(static_cast<ExternalIndex>(i)))
        policy.addresses.push_back(static_cast<ExternalIndex>(i));
    policies_.push_back({std::move(policy)});
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      workers_[i]->follow(*tables_.back(), policies_.back());
      follows_[i] = tables_.size() - 1;
      for (unsigned more = 0; more < 5; ++more) note(open());
    }
  }
  void note(const std::string& wrong) {
    if (wrong_.empty()) wrong_ = wrong;
  }

  void change() {
    const unsigned index = random_() % kRoom;
    Entry& entry = wanted_[index];
    if (entry.ports == nullptr) {
      entry = {nth_address(random_() % 12), ports(kFirst, kLast)};
      for (unsigned i = 0; i < kRoom; ++i)
        if (i != index && wanted_[i].address == entry.address) entry = {};
      return publish({});
    }
    const unsigned what = random_() % 4;
    if (what == 0) return remove(static_cast<ExternalIndex>(index));
    if (what == 1) entry = {entry.address, std::make_shared<const AllowedPorts>(), true};
    if (what == 2) entry = {entry.address, ports(kFirst, kLast), false};
    if (what == 3)
      entry = {entry.address, ports(kFirst + random_() % 100, kLast, {random_port(), random_port()})};
    publish({});
  }

  void remove(ExternalIndex index) {
    const net::Ipv4Addr address = wanted_[index].address;
    publish({index});
    for (const auto& worker : workers_) {
      for (std::uint32_t cursor = 0;;) {
        worker->visit_some(cursor, 64, [&](Session& session) {
          if (session.external().address == address) worker->erase(session, now_);
        });
        if (cursor == 0) break;
        note(open());
      }
    }
    std::erase_if(taken_, [&](const auto& each) { return std::get<1>(each.first).address == address; });
    wanted_[index] = {};
    publish({});
  }

  std::uint16_t random_port() { return static_cast<std::uint16_t>(kFirst + random_() % (kLast - kFirst)); }

  // A VM's flows are one worker's.
  std::string open() {
    const unsigned vm = random_() % 20;
    Conntrack& worker = *workers_[vm % 2];
    const net::Endpoint internal{net::Ipv4Addr::from_host(0xc0a87a0a + vm), port(2000 + random_() % 20)};
    const net::Endpoint remote{net::Ipv4Addr::of(198, 51, 100, 1), port(443 + random_() % 3)};
    const net::Protocol protocol = random_() % 2 == 0 ? kUdp : kIcmp;
    const FlowKey key = FlowKey::of(internal, remote, protocol);
    if (worker.find(key) != nullptr) return "";
    const bool was_mapped = std::ranges::any_of(taken_, [&](const auto& each) {
      return std::get<0>(each.first) == protocol && each.second == internal;
    });
    const Opened opened = worker.open_outbound({.key = key}, 0, now_);
    if (opened.session == nullptr) return "";
    ++opened_;
    const net::Endpoint external = opened.session->external();
    if (!taken_.emplace(Tuple{protocol, external, remote}, internal).second) return "a tuple was given twice";
    return why_wrong(external, was_mapped, follows_[vm % 2]);
  }

  // By the table that the worker has gone over to.
  std::string why_wrong(net::Endpoint external, bool was_mapped, std::size_t table) const {
    const ExternalAddresses& addresses = *tables_[table];
    const auto index = addresses.index_of(external.address);
    if (!index) return "an address was given that is gone";
    if (policies_[table].front().leaves(*index)) return "an address was given that is going";
    if (addresses.is_allowed(*index, external.port)) return "";
    return addresses.is_draining(*index) && was_mapped ? "" : "a port was given that is not to be had";
  }

  std::string end_one() {
    if (taken_.empty()) return "";
    auto at = taken_.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(random_() % taken_.size()));
    const auto& [protocol, external, remote] = at->first;
    const FlowKey inbound = FlowKey::of(external, remote, protocol);
    for (const auto& worker : workers_)
      if (Session* session = worker->find(inbound)) {
        worker->erase(*session, now_);
        taken_.erase(at);
        return "";
      }
    return "a session is missing";
  }

  // Each session is there, at its worker, and nothing else is.
  std::string judge() {
    std::uint64_t active = 0;
    if (!wrong_.empty()) return wrong_;
    for (const auto& worker : workers_) {
      std::string why;
      if (!worker->check_invariants(&why)) return why;
      active += worker->statistics().active;
    }
    if (active != taken_.size()) return "sessions are missing or left over";
    for (const auto& [tuple, internal] : taken_)
      if (!tables_.back()->index_of(std::get<1>(tuple).address))
        return "a session of an address that is gone";
    for (unsigned i = 0; i < kRoom; ++i)
      for (unsigned number = kFirst; wanted_[i].ports == nullptr && number <= kLast; number += kBlockPorts)
        if (room_->owner(static_cast<ExternalIndex>(i), port(number)) != kNoWorker)
          return "a block of an address that is gone is somebody's";
    return "";
  }

  using Tuple = std::tuple<net::Protocol, net::Endpoint, net::Endpoint>;  // external, remote
  std::mt19937_64 random_;
  std::unique_ptr<ExternalPorts> room_;
  std::vector<Entry> wanted_;
  std::vector<std::shared_ptr<const ExternalAddresses>> tables_;
  std::vector<NatPolicies> policies_;
  std::vector<std::unique_ptr<Conntrack>> workers_;
  std::array<std::size_t, 2> follows_{};  // which table, by worker
  std::string wrong_;                     // while something was published
  std::map<Tuple, net::Endpoint> taken_;  // to the internal endpoint
  Time now_ = at_seconds(1000);
  unsigned opened_ = 0, changes_ = 0;
};

TEST(Following, NoTupleIsGivenTwiceAndNoPortThatIsNotToBeHadWhateverComesAndGoes) {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) EXPECT_EQ(Walk(seed).run(2500), "") << "seed " << seed;
}

}  // namespace
}  // namespace vmnat::conntrack
