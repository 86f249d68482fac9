// SPDX-License-Identifier: Apache-2.0
// Who is who: what one port holds no other port gets, by whatever message; and what claims of addresses cost.
#include <gtest/gtest.h>
#include <set>

#include "dhcp/journal.h"
#include "dhcp/server.h"
#include "tests/dhcp/test_client.h"

namespace vmnat::dhcp::test {
namespace {

using std::chrono::seconds;

const net::MacAddr kVm1 = mac("52:54:00:aa:00:01"), kVm2 = mac("52:54:00:aa:00:02"),
                   kVm3 = mac("52:54:00:aa:00:03");

struct IdentityTest : testing::Test {
  void TearDown() override { EXPECT_EQ(server.check_invariants(), ""); }
  void use(const NetworkSettings& changed) { server = Server{changed, 1}; }
  std::uint64_t refused() const { return ignored_for(server, Ignored::HeldElsewhere); }
  Lease lease_of(net::Ipv4Addr address) const {
    const auto* record = server.table().at(address);
    return record == nullptr ? Lease{} : record->lease;
  }
  // By the relay at .9 behind `relay`'s port, for a client of this MAC.
  static RequestFrame relayed(RequestFrame request, net::MacAddr client) {
    request.header.giaddr = ip("192.168.122.9");
    request.header.chaddr = client;
    request.source = {ip("192.168.122.9"), kServerPort};
    request.destination = {ip("192.168.122.1"), kServerPort};
    return request;
  }

  NetworkSettings settings = default_network();
  Server server{default_network(), 1};
  TestClient vm1{server, "vm1", kVm1}, vm2{server, "vm2", kVm2};
  TestClient thief{server, "vm2", kVm1};  // vm1's MAC, by vm2's port
};

TEST_F(IdentityTest, NoMessageOfAnotherPortTakesALeaseOver) {
  const auto address = vm1.acquire().value();
  const RequestFrame messages[] = {thief.discover(),
                                   thief.discover().with(Option::RequestedAddress, address),
                                   thief.discover().with(Option::RapidCommit, Bytes{}),
                                   thief.selecting(address),
                                   thief.selecting(ip("192.168.122.99")),
                                   thief.init_reboot(address),
                                   thief.renewing(address),
                                   thief.rebinding(address)};
  for (const RequestFrame& message : messages) EXPECT_FALSE(thief.ask(message));
  EXPECT_EQ(refused(), std::size(messages));
  EXPECT_EQ(server.ignored_from("vm2")[static_cast<std::size_t>(Ignored::HeldElsewhere)],
            std::size(messages));
  EXPECT_EQ(server.ignored_from("vm1"), IgnoredCounts{});
  EXPECT_FALSE(thief.ask(thief.release(address)));
  EXPECT_FALSE(thief.ask(thief.decline(address)));
  EXPECT_FALSE(thief.ask(thief.message(MessageType::Request).with(Option::ServerId, ip("192.168.122.99"))));
  EXPECT_EQ(lease_of(address).port, "vm1");
  EXPECT_EQ(lease_of(address).state, LeaseState::Bound);
  EXPECT_EQ(server.leases().size(), 1u) << "nor is there another address for that MAC";
  EXPECT_EQ(vm1.ask(vm1.renewing(address))->type(), MessageType::Ack);
}

TEST_F(IdentityTest, AnOfferIsHeldAsALeaseIs) {
  const auto address = vm1.ask(vm1.discover())->yiaddr();
  EXPECT_FALSE(thief.ask(thief.discover()));
  EXPECT_FALSE(thief.ask(thief.selecting(address)));
  EXPECT_EQ(vm1.ask(vm1.selecting(address))->type(), MessageType::Ack);
}

TEST_F(IdentityTest, WhatIsOverReleasedOrEndedByHandMayBeHadByAnotherPort) {
  const auto address = vm1.acquire().value();
  thief.now = at_second(3599);
  EXPECT_FALSE(thief.ask(thief.discover()));
  thief.now = at_second(3600);
  EXPECT_EQ(thief.acquire(), address);
  EXPECT_TRUE(server.release(address));
  vm1.now = at_second(3600);
  EXPECT_EQ(vm1.acquire(), address);
  vm1.ask(vm1.release(address));
  EXPECT_EQ(thief.acquire(), address);
}

TEST_F(IdentityTest, ARelaysMessagesAreHeededOnlyWhereItMayRelay) {
  const auto address = vm1.acquire().value();
  const RequestFrame request =
      relayed(vm2.selecting(address), kVm1).unicast_to(settings.gateway_mac, settings.gateway.address);
  EXPECT_FALSE(vm2.ask(request));
  EXPECT_FALSE(vm2.ask(relayed(vm2.discover(), kVm3)));
  EXPECT_EQ(ignored_for(server, Ignored::NoRelay), 2u);
  vm2.may_relay = true;
  EXPECT_FALSE(vm2.ask(request));
  EXPECT_EQ(refused(), 1u) << "nor does it speak for what another port holds";
  EXPECT_EQ(lease_of(address).port, "vm1");
  EXPECT_TRUE(vm2.ask(relayed(vm2.discover(), kVm3)));
}

// A bridge that sends all frames of its stations under its own MAC leaves chaddr as it was.
TEST_F(IdentityTest, ABridgesStationsAreHeededEachForItselfWhereItsPortMayRelay) {
  const auto bridged = [&](RequestFrame request, net::MacAddr client) {
    request.header.chaddr = client;
    return request;
  };
  EXPECT_FALSE(vm2.ask(bridged(vm2.discover(), kVm3)));
  EXPECT_EQ(ignored_for(server, Ignored::ForeignMac), 1u);
  vm2.may_relay = true;
  std::set<net::Ipv4Addr> addresses;
  for (unsigned i = 0; i < 10; ++i) {
    const Reply offer = vm2.ask(bridged(vm2.discover(), mac_number(i))).value();
    EXPECT_EQ(vm2.ask(bridged(vm2.selecting(offer.yiaddr()), mac_number(i)))->type(), MessageType::Ack);
    EXPECT_EQ(lease_of(offer.yiaddr()).mac, mac_number(i));
    addresses.insert(offer.yiaddr());
  }
  EXPECT_EQ(addresses.size(), 10u);
  const auto address = vm1.acquire().value();
  EXPECT_FALSE(vm2.ask(bridged(vm2.selecting(address), kVm1)));
  EXPECT_EQ(refused(), 1u) << "nor does it speak for what another port holds";
}

TEST_F(IdentityTest, ARelayedRefusalGoesToTheRelay) {
  vm2.may_relay = true;
  const Reply nak = vm2.ask(relayed(vm2.init_reboot(ip("10.0.0.5")), kVm3)).value();
  EXPECT_EQ(nak.type(), MessageType::Nak);
  EXPECT_EQ(nak.datagram.destination, (net::Endpoint{ip("192.168.122.9"), kServerPort}));
  EXPECT_EQ(nak.datagram.destination_mac, kVm2);
  EXPECT_TRUE(nak.message.header.wants_broadcast());
}

TEST_F(IdentityTest, AClientIdOfAnotherPortsLeaseOpensNothing) {
  settings.identity = Identity::ClientId;
  use(settings);
  const Bytes id = hex("01 52 54 00 aa 00 01");
  const auto address = vm1.ask(vm1.discover().with(Option::ClientId, id))->yiaddr();
  ASSERT_EQ(vm1.ask(vm1.selecting(address).with(Option::ClientId, id))->type(), MessageType::Ack);
  EXPECT_FALSE(vm2.ask(vm2.selecting(address).with(Option::ClientId, id)));
  EXPECT_FALSE(vm2.ask(vm2.discover().with(Option::ClientId, id)));
  // Nor may the MAC be used under another client-id: it would be two ports' at once.
  EXPECT_FALSE(thief.ask(thief.discover().with(Option::ClientId, hex("01 02 03"))));
  EXPECT_EQ(refused(), 3u);
  EXPECT_EQ(lease_of(address).mac, kVm1);
  EXPECT_EQ(lease_of(address).port, "vm1");
}

TEST_F(IdentityTest, ByIdentityPortTheMacOfAnotherPortsLeaseIsRefusedToo) {
  settings.identity = Identity::Port;
  use(settings);
  ASSERT_TRUE(vm1.acquire());
  EXPECT_FALSE(thief.acquire());
  EXPECT_TRUE(vm2.acquire());
  EXPECT_EQ(server.leases().size(), 2u);
}

TEST_F(IdentityTest, AMacThatTheConfigurationGivesAPortIsNobodyElses) {
  settings.ports = {{.name = "vm1", .mac = kVm1}, {.name = "vm2", .mac = {}}};
  settings.reservations = {{.mac = kVm1, .port = "vm1", .address = ip("192.168.122.10"), .hostname = {}}};
  use(settings);
  EXPECT_FALSE(thief.acquire());
  TestClient as_gateway{server, "vm2", settings.gateway_mac};
  EXPECT_FALSE(as_gateway.acquire());
  EXPECT_EQ(refused(), 2u);
  EXPECT_EQ(vm1.acquire(), ip("192.168.122.10"));
}

TEST_F(IdentityTest, OverARestartALeaseStaysItsPortsUnlessThePortIsNoMore) {
  settings.ports = {{.name = "vm1", .mac = {}}, {.name = "vm2", .mac = {}}};
  use(settings);
  const auto address = vm1.acquire().value();
  const auto changes = server.take_changes();
  use(settings);
  EXPECT_EQ(server.load(changes, at_second(10)), 1u);
  EXPECT_FALSE(thief.acquire());
  settings.ports = {{.name = "vm2", .mac = {}}};  // the operator has moved it
  use(settings);
  EXPECT_EQ(server.load(changes, at_second(10)), 1u);
  EXPECT_EQ(lease_of(address).port, "");
  EXPECT_FALSE(vm2.ask(vm2.selecting(address)).value().type() == MessageType::Ack)
      << "it is still the client's";
  EXPECT_EQ(thief.acquire(), address);
  EXPECT_EQ(lease_of(address).port, "vm2");
  settings.ports = {{.name = "vm1", .mac = {}}, {.name = "vm2", .mac = kVm1}};  // or its MAC
  use(settings);
  server.load(changes, at_second(10));
  EXPECT_EQ(thief.acquire(), address);
}

TEST_F(IdentityTest, ANewIdentityTakesNoLeaseAway) {
  const Bytes id = hex("ff 00 00 00 01");
  const auto acquire = [&](TestClient& client) {
    const auto address = client.ask(client.discover().with(Option::ClientId, id))->yiaddr();
    client.ask(client.selecting(address).with(Option::ClientId, id));
    return address;
  };
  const auto one = acquire(vm1), two = acquire(vm2);
  settings.identity = Identity::ClientId;
  server.reconfigure(settings);
  for (const auto address : {one, two}) EXPECT_EQ(lease_of(address).state, LeaseState::Bound);
  TestClient third{server, "vm3", kVm3};
  for (const auto address : {one, two})
    EXPECT_EQ(third.ask(third.selecting(address))->type(), MessageType::Nak);
}

struct ClaimsTest : IdentityTest {
  ClaimsTest() {
    settings.check_before_offer = true;
    settings.ranges = {{ip("192.168.122.100"), ip("192.168.122.199")}};
    use(settings);
  }
  // What the client is offered when the port answers for every address that is asked about.
  std::optional<net::Ipv4Addr> offered_against(TestClient& client, const Claim& claimer) {
    const RequestFrame discover = client.discover();
    for (;;) {
      const auto offer = client.ask(discover);
      if (offer) return offer->yiaddr();
      const auto check = server.take_check();
      if (!check) return std::nullopt;
      ++asked;
      if (!server.mark_in_use(check->address, claimer, client.now))
        server.mark_free(check->address, client.now);
    }
  }
  Claim claim_of(const std::string& port, unsigned leases = 16) const {
    return {mac("52:54:00:dd:00:01"), port, {.messages_per_second = 0, .leases = leases}};
  }
  unsigned asked = 0;
};

TEST_F(ClaimsTest, WhoAnswersForEveryAddressKeepsAFewFromTheOthers) {
  EXPECT_TRUE(offered_against(vm1, claim_of("mute")));
  EXPECT_EQ(asked, 13u) << "an eighth of 100 addresses were believed";
  EXPECT_EQ(server.table().declined_through("mute"), 12u);
  for (unsigned i = 0; i < 40; ++i) {
    TestClient other{server, "vm" + std::to_string(10 + i), mac_number(i)};
    EXPECT_TRUE(offered_against(other, claim_of("mute"))) << i;
  }
  EXPECT_EQ(server.table().declined(), 12u);
}

TEST_F(ClaimsTest, ClaimsCountAsLeasesOfTheirPortDo) {
  EXPECT_TRUE(offered_against(vm1, claim_of("vm2", 4)));
  EXPECT_EQ(server.table().declined_through("vm2"), 4u);
  RequestFrame discover = vm2.discover();
  const PortLimits limits{.messages_per_second = 0, .leases = 4};
  EXPECT_FALSE(server.answer(discover.frame(), {.port = "vm2", .limits = limits}, at_second(0)));
  EXPECT_FALSE(server.take_check());
  EXPECT_EQ(ignored_for(server, Ignored::PortLimit), 1u);
  const auto later = at_second(600);  // the probation is over
  EXPECT_FALSE(server.answer(discover.frame(), {.port = "vm2", .limits = limits}, later));
  EXPECT_TRUE(server.take_check());
}

TEST_F(ClaimsTest, ManyClaimersAndASegmentKeepHalfOfThePoolAtMost) {
  for (unsigned i = 0; i < 10; ++i) {
    TestClient other{server, "vm" + std::to_string(10 + i), mac_number(i)};
    EXPECT_TRUE(offered_against(other, claim_of("mute" + std::to_string(i)))) << i;
  }
  EXPECT_EQ(server.table().declined(), 50u);
  use(settings);
  EXPECT_TRUE(offered_against(vm1, claim_of("lab", 0)));
  EXPECT_EQ(server.table().declined(), 50u);
}

TEST_F(ClaimsTest, AnAddressThatSomebodyHoldsCannotBeClaimed) {
  const auto address = offered_against(vm1, claim_of("none", 16)).value();
  vm1.ask(vm1.selecting(address));
  EXPECT_FALSE(server.mark_in_use(address, claim_of("vm2"), at_second(1)));
  EXPECT_EQ(lease_of(address).state, LeaseState::Bound);
}

TEST_F(ClaimsTest, AReservedAddressIsNotAskedAbout) {
  settings.reservations = {{.mac = kVm1, .port = {}, .address = ip("192.168.122.110"), .hostname = {}}};
  use(settings);
  EXPECT_EQ(offered_against(vm1, claim_of("mute")), ip("192.168.122.110"));
  EXPECT_EQ(asked, 0u);
}

TEST_F(ClaimsTest, AnAddressThatIsAskedAboutIsHeldForItsClient) {
  const auto wish = ip("192.168.122.150");
  const RequestFrame discover = vm1.discover().with(Option::RequestedAddress, wish);
  EXPECT_FALSE(vm1.ask(discover));
  EXPECT_EQ(server.take_check()->address, wish);
  EXPECT_FALSE(vm2.ask(vm2.discover().with(Option::RequestedAddress, wish)));
  EXPECT_NE(server.take_check()->address, wish);
  EXPECT_FALSE(vm1.ask(vm1.discover()));
  EXPECT_EQ(server.take_check()->address, wish) << "asked for again, it is the same address";
  server.mark_free(wish, vm1.now);
  EXPECT_EQ(vm1.ask(discover)->yiaddr(), wish);
}

}  // namespace
}  // namespace vmnat::dhcp::test
