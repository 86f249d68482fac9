// SPDX-License-Identifier: Apache-2.0
// The server by message type: RFC 2131 section 4.3, a test for each decision.
#include "dhcp/server.h"

#include <gtest/gtest.h>

#include "dhcp/journal.h"
#include "tests/dhcp/test_client.h"

namespace vmnat::dhcp::test {
namespace {

using std::chrono::seconds;

// What a journal with these records gives back.
std::vector<Lease> read_journal_of(std::span<const Lease> leases) {
  Bytes bytes = journal_header();
  const Bytes records = journal_records(leases);
  bytes.insert(bytes.end(), records.begin(), records.end());
  return read_journal(bytes).leases;
}

class DhcpServer : public testing::Test {
 protected:
  void TearDown() override { EXPECT_EQ(server.check_invariants(), ""); }
  std::uint64_t ignored(Ignored reason) const { return ignored_for(server, reason); }
  LeaseState state_of(net::Ipv4Addr address) const {
    for (const Lease& lease : server.leases())
      if (lease.address == address) return lease.state;
    ADD_FAILURE() << "no record of " << net::to_string(address);
    return {};
  }

  Server server{default_network(), 1};
  TestClient vm{server, "vm1", mac("52:54:00:aa:00:01")};
  TestClient other{server, "vm2", mac("52:54:00:aa:00:02")};
  const net::Ipv4Addr gateway = ip("192.168.122.1");
};

TEST_F(DhcpServer, FourMessagesGiveALeaseWithEverythingAVmNeeds) {
  const Reply offer = vm.ask(vm.discover().asking_for({1, 3, 6, 15, 26, 28})).value();
  ASSERT_EQ(offer.type(), MessageType::Offer);
  EXPECT_EQ(server.leases().at(0).state, LeaseState::Offered);
  const Reply ack = vm.ask(vm.selecting(offer.yiaddr()).asking_for({1, 3, 6, 15, 26, 28})).value();
  ASSERT_EQ(ack.type(), MessageType::Ack);
  EXPECT_EQ(ack.yiaddr(), offer.yiaddr());
  for (const Reply* reply : {&offer, &ack}) {
    EXPECT_EQ(reply->options().address(Option::ServerId), gateway);
    EXPECT_EQ(reply->options().address(Option::SubnetMask), ip("255.255.255.0"));
    EXPECT_EQ(reply->options().address(Option::Router), gateway);
    EXPECT_EQ(reply->options().address(Option::DnsServers), ip("9.9.9.9"));
    EXPECT_EQ(reply->options().text(Option::DomainName), "lab.example");
    EXPECT_EQ(reply->options().short_value(Option::InterfaceMtu), 1500);
    EXPECT_EQ(reply->options().address(Option::BroadcastAddress), ip("192.168.122.255"));
    EXPECT_EQ(reply->options().long_value(Option::LeaseTime), 3600u);
    EXPECT_EQ(reply->options().long_value(Option::RenewalTime), 1800u);
    EXPECT_EQ(reply->options().long_value(Option::RebindingTime), 3150u);
    EXPECT_EQ(reply->datagram.source, (net::Endpoint{gateway, kServerPort}));
    EXPECT_EQ(reply->datagram.source_mac, mac("52:54:00:00:01:01"));
  }
  const Lease lease = server.leases().at(0);
  EXPECT_EQ(lease.state, LeaseState::Bound);
  EXPECT_EQ(lease.port, "vm1");
  EXPECT_EQ(lease.expires, at_second(3600));
}

TEST_F(DhcpServer, OptionsThatWereNotAskedForStayAway) {
  const Reply offer = vm.ask(vm.discover().asking_for({1, 3})).value();
  EXPECT_TRUE(offer.options().has(Option::Router));
  for (const Option code :
       {Option::DnsServers, Option::DomainName, Option::InterfaceMtu, Option::BroadcastAddress})
    EXPECT_FALSE(offer.options().has(code));
}

TEST_F(DhcpServer, TheSameVmGetsTheSameAddressFromAServerThatForgotIt) {
  const auto before = vm.acquire();
  Server fresh{default_network(), 1};
  TestClient again{fresh, "vm1", mac("52:54:00:aa:00:01")};
  EXPECT_EQ(again.acquire(), before);
}

TEST_F(DhcpServer, TheAddressThatAClientAsksForIsOfferedWhenItIsFree) {
  const auto wish = ip("192.168.122.77");
  EXPECT_EQ(vm.ask(vm.discover().with(Option::RequestedAddress, wish))->yiaddr(), wish);
  EXPECT_NE(other.ask(other.discover().with(Option::RequestedAddress, wish))->yiaddr(), wish);
  EXPECT_NE(other.ask(other.discover().with(Option::RequestedAddress, gateway))->yiaddr(), gateway);
  EXPECT_TRUE(server.settings().gateway.contains(
      other.ask(other.discover().with(Option::RequestedAddress, ip("10.0.0.5")))->yiaddr()));
}

TEST_F(DhcpServer, AShorterLeaseIsGivenWhenAskedForAndALongerOneIsNot) {
  const auto lease_for = [&](std::string_view asked) {
    return vm.ask(vm.discover().with(Option::LeaseTime, hex(asked)))->options().long_value(Option::LeaseTime);
  };
  EXPECT_EQ(lease_for("00 00 02 58"), 600u);
  EXPECT_EQ(lease_for("00 00 00 01"), 120u);  // not worth the traffic
  EXPECT_EQ(lease_for("ff ff ff ff"), 3600u);
}

TEST_F(DhcpServer, AnInfiniteLeaseHasNoRenewalTimes) {
  NetworkSettings settings = default_network();
  settings.lease_time = seconds{0xffffffff};
  server.reconfigure(settings);
  const Reply offer = vm.ask(vm.discover()).value();
  EXPECT_EQ(offer.options().long_value(Option::LeaseTime), 0xffffffffu);
  EXPECT_FALSE(offer.options().has(Option::RenewalTime) || offer.options().has(Option::RebindingTime));
  EXPECT_TRUE(vm.acquire());
  EXPECT_GT(server.leases().at(0).expires, at_second(0) + seconds{0xffffffff} - seconds{1});
}

TEST_F(DhcpServer, SelectingAnAddressThatWasNotOfferedIsAcknowledgedWhenFreeAndRefusedWhenNot) {
  EXPECT_EQ(vm.ask(vm.selecting(ip("192.168.122.50")))->type(), MessageType::Ack);
  EXPECT_EQ(other.ask(other.selecting(ip("192.168.122.50")))->type(), MessageType::Nak);
  EXPECT_EQ(other.ask(other.selecting(gateway))->type(), MessageType::Nak);
  EXPECT_EQ(other.ask(other.selecting(ip("192.168.5.50")))->type(), MessageType::Nak);
}

TEST_F(DhcpServer, InitRebootIsConfirmedForTheHolderAndRefusedForOthers) {
  const auto address = vm.acquire().value();
  const Reply ack = vm.ask(vm.init_reboot(address)).value();
  EXPECT_EQ(ack.type(), MessageType::Ack);
  EXPECT_EQ(ack.yiaddr(), address);
  EXPECT_EQ(other.ask(other.init_reboot(address))->type(), MessageType::Nak);
}

TEST_F(DhcpServer, RenewingAndRebindingExtendTheLease) {
  const auto address = vm.acquire().value();
  vm.now = at_second(1800);
  const Reply renewed = vm.ask(vm.renewing(address)).value();
  EXPECT_EQ(renewed.type(), MessageType::Ack);
  EXPECT_EQ(renewed.message.header.ciaddr, address);
  EXPECT_EQ(server.leases().at(0).expires, at_second(5400));
  vm.now = at_second(4950);
  EXPECT_EQ(vm.ask(vm.rebinding(address))->type(), MessageType::Ack);
  EXPECT_EQ(server.leases().at(0).expires, at_second(8550));
  EXPECT_EQ(other.ask(other.renewing(address))->type(), MessageType::Nak);
  EXPECT_EQ(other.ask(other.rebinding(address))->type(), MessageType::Nak);
}

TEST_F(DhcpServer, ANakNamesTheServerAndTheReasonAndNoAddress) {
  const Reply nak =
      vm.ask(vm.init_reboot(ip("10.0.0.5")).with(Option::ClientId, hex("01 52 54 00 aa 00 01"))).value();
  ASSERT_EQ(nak.type(), MessageType::Nak);
  EXPECT_EQ(nak.yiaddr(), net::Ipv4Addr{});
  EXPECT_EQ(nak.options().address(Option::ServerId), gateway);
  EXPECT_EQ(nak.options().text(Option::ErrorText), "address is not of this network");
  for (const Option code : {Option::LeaseTime, Option::SubnetMask, Option::Router})
    EXPECT_FALSE(nak.options().has(code));
  EXPECT_EQ(nak.datagram.destination.address, kBroadcastAddress);
}

TEST_F(DhcpServer, AServerThatIsNotAuthoritativeIsSilentAboutClientsItDoesNotKnow) {
  NetworkSettings settings = default_network();
  settings.authoritative = false;
  server.reconfigure(settings);
  const auto address = ip("192.168.122.50");
  EXPECT_FALSE(vm.ask(vm.init_reboot(address)));
  EXPECT_FALSE(vm.ask(vm.renewing(address)));
  EXPECT_FALSE(vm.ask(vm.rebinding(address)));
  EXPECT_FALSE(vm.ask(vm.rebinding(ip("10.0.0.5"))));
  EXPECT_EQ(ignored(Ignored::UnknownClient), 4u);
  EXPECT_EQ(vm.ask(vm.init_reboot(ip("10.0.0.5")))->type(), MessageType::Nak);  // wrong network: known to all
}

TEST_F(DhcpServer, AReleasedAddressGoesBackToItsFormerHolderFirst) {
  const auto address = vm.acquire().value();
  EXPECT_FALSE(vm.ask(vm.release(address)));
  EXPECT_EQ(state_of(address), LeaseState::Released);
  EXPECT_NE(other.acquire(), address);
  EXPECT_EQ(vm.acquire(), address);
}

TEST_F(DhcpServer, ADeclinedAddressStaysOutOfThePoolForTheProbation) {
  const auto address = vm.acquire().value();
  EXPECT_FALSE(vm.ask(vm.decline(address)));
  EXPECT_EQ(state_of(address), LeaseState::Declined);
  EXPECT_NE(vm.acquire(), address);
  EXPECT_EQ(other.ask(other.selecting(address))->type(), MessageType::Nak);
  other.now = at_second(600);
  EXPECT_EQ(other.ask(other.selecting(address))->type(), MessageType::Ack);
}

TEST_F(DhcpServer, OnlyTheHolderOnItsPortMayReleaseOrDecline) {
  const auto address = vm.acquire().value();
  EXPECT_FALSE(other.ask(other.release(address)));
  EXPECT_FALSE(other.ask(other.decline(address)));
  TestClient impostor{server, "vm2", mac("52:54:00:aa:00:01")};  // the VM's MAC, from another port
  EXPECT_FALSE(impostor.ask(impostor.release(address)));
  EXPECT_EQ(ignored(Ignored::NotTheHolder), 3u);
  EXPECT_EQ(state_of(address), LeaseState::Bound);
}

TEST_F(DhcpServer, AnOfferIsForgottenAfterAMinute) {
  const auto address = vm.ask(vm.discover())->yiaddr();
  EXPECT_EQ(server.expire(at_second(59)), 0u);
  EXPECT_EQ(server.expire(at_second(60)), 1u);
  EXPECT_TRUE(server.leases().empty());
  EXPECT_EQ(other.ask(other.discover().with(Option::RequestedAddress, address))->yiaddr(), address);
}

TEST_F(DhcpServer, ALeaseEndsAndIsRememberedForItsVm) {
  const auto address = vm.acquire().value();
  EXPECT_EQ(server.expire(at_second(3600)), 1u);
  EXPECT_EQ(state_of(address), LeaseState::Expired);
  vm.now = other.now = at_second(9000);
  EXPECT_NE(other.acquire(), address);
  EXPECT_EQ(vm.acquire(), address);
}

TEST_F(DhcpServer, AnExhaustedPoolIsSilentAndGivesTheFirstAddressThatComesFree) {
  NetworkSettings settings = default_network();
  settings.ranges = {{ip("192.168.122.0"), ip("192.168.122.3")}};  // .2 and .3 are left of it
  server.reconfigure(settings);
  const auto first = vm.acquire().value();
  const auto second = other.acquire().value();
  EXPECT_NE(first, second);
  TestClient third{server, "vm3", mac("52:54:00:aa:00:03")};
  EXPECT_FALSE(third.ask(third.discover()));
  EXPECT_EQ(ignored(Ignored::PoolExhausted), 1u);
  vm.ask(vm.release(first));
  EXPECT_EQ(third.acquire(), first);
}

TEST_F(DhcpServer, AReservedAddressIsForItsVmAloneInsideAndOutsideOfTheRanges) {
  NetworkSettings settings = default_network();
  settings.ranges = {{ip("192.168.122.10"), ip("192.168.122.11")}};
  settings.reservations = {
      {.mac = mac("52:54:00:aa:00:01"), .address = ip("192.168.122.10"), .hostname = "web1"},
      {.port = "vm2", .address = ip("192.168.122.200"), .hostname = {}}};
  server.reconfigure(settings);
  ASSERT_EQ(server.leases().size(), 2u);
  EXPECT_EQ(state_of(ip("192.168.122.10")), LeaseState::Reserved);
  TestClient stranger{server, "vm3", mac("52:54:00:aa:00:03")};
  EXPECT_EQ(stranger.ask(stranger.selecting(ip("192.168.122.10")))->type(), MessageType::Nak);
  EXPECT_EQ(stranger.acquire(), ip("192.168.122.11"));
  const Reply offer = vm.ask(vm.discover()).value();
  EXPECT_EQ(offer.yiaddr(), ip("192.168.122.10"));
  EXPECT_EQ(offer.options().text(Option::HostName), "web1");
  EXPECT_EQ(other.acquire(), ip("192.168.122.200"));
  EXPECT_EQ(vm.ask(vm.init_reboot(ip("192.168.122.11")))->type(), MessageType::Nak);
}

TEST_F(DhcpServer, AReservationMadeLaterMovesItsVmAndLeavesTheHolderInPeaceUntilRenewal) {
  const auto old = vm.acquire().value();
  const auto wanted = other.acquire().value();
  NetworkSettings settings = default_network();
  settings.reservations = {{.mac = mac("52:54:00:aa:00:01"), .address = wanted, .hostname = {}}};
  server.reconfigure(settings);
  EXPECT_EQ(vm.ask(vm.renewing(old))->type(), MessageType::Ack);  // its address is not free yet
  EXPECT_EQ(other.ask(other.renewing(wanted))->type(), MessageType::Nak);
  other.ask(other.release(wanted));
  EXPECT_EQ(vm.ask(vm.renewing(old))->type(), MessageType::Nak);
  EXPECT_EQ(vm.acquire(), wanted);
}

TEST_F(DhcpServer, RapidCommitGivesTheLeaseInTwoMessages) {
  const Reply ack = vm.ask(vm.discover().with(Option::RapidCommit, Bytes{})).value();
  EXPECT_EQ(ack.type(), MessageType::Ack);
  EXPECT_TRUE(ack.options().has(Option::RapidCommit));
  EXPECT_EQ(state_of(ack.yiaddr()), LeaseState::Bound);
  EXPECT_EQ(server.take_changes().size(), 1u);
}

TEST_F(DhcpServer, WhatTheJournalMustKnowIsReportedOnceAndInOrder) {
  const auto address = vm.acquire().value();
  vm.ask(vm.release(address));
  const auto changes = server.take_changes();
  ASSERT_EQ(changes.size(), 2u);
  EXPECT_EQ(changes[0].state, LeaseState::Bound);
  EXPECT_EQ(changes[0].address, address);
  EXPECT_EQ(changes[1].state, LeaseState::Released);
  EXPECT_TRUE(server.take_changes().empty());
}

TEST_F(DhcpServer, LoadedLeasesAreHeldAsIfNothingHadHappened) {
  const auto address = vm.acquire().value();
  Server restarted{default_network(), 99};  // another seed: it is the record that counts
  EXPECT_EQ(restarted.load(server.take_changes(), at_second(10)), 1u);
  TestClient stranger{restarted, "vm2", mac("52:54:00:aa:00:02")};
  EXPECT_EQ(stranger.ask(stranger.selecting(address))->type(), MessageType::Nak);
  TestClient again{restarted, "vm1", mac("52:54:00:aa:00:01")};
  EXPECT_EQ(again.ask(again.renewing(address))->type(), MessageType::Ack);
}

TEST_F(DhcpServer, AnAddressThatAClientLeftDoesNotDisplaceItsLeaseAtARestart) {
  const auto left = ip("192.168.122.90"), taken = ip("192.168.122.20");
  ASSERT_TRUE(vm.ask(vm.selecting(left)));
  vm.now = other.now = at_second(4000);  // the lease is over, and another takes the address for a while
  ASSERT_TRUE(other.ask(other.selecting(left)));
  ASSERT_TRUE(vm.ask(vm.selecting(taken)));
  other.ask(other.release(left));
  ASSERT_TRUE(other.ask(other.selecting(ip("192.168.122.30"))));
  Server restarted{default_network(), 1};
  restarted.load(read_journal_of(server.take_changes()), at_second(4001));
  const auto leases = restarted.leases();
  const auto is_bound = [&](net::Ipv4Addr address) {
    return std::ranges::any_of(leases, [&](const Lease& lease) {
      return lease.address == address && lease.state == LeaseState::Bound;
    });
  };
  EXPECT_TRUE(is_bound(taken));
  EXPECT_TRUE(is_bound(ip("192.168.122.30")));
  EXPECT_FALSE(is_bound(left));
}

TEST_F(DhcpServer, LoadingLeavesOutWhatIsOverOrNotOfThisNetwork) {
  const auto lease = [](const char* address, LeaseState state, std::int64_t expires) {
    return Lease{.address = ip(address), .mac = mac_number(1), .expires = at_second(expires), .state = state};
  };
  const Lease leases[] = {
      lease("10.0.0.5", LeaseState::Bound, 1000),          // another network's
      lease("192.168.122.1", LeaseState::Bound, 1000),     // the gateway's
      lease("192.168.122.9", LeaseState::Declined, 5),     // probation over
      lease("192.168.122.10", LeaseState::Declined, 50),   // kept
      lease("192.168.122.11", LeaseState::Bound, 99'999),  // kept, but no longer than a lease lasts
  };
  EXPECT_EQ(server.load(leases, at_second(10)), 2u);
  EXPECT_EQ(server.leases().at(1).expires, at_second(3610));
}

TEST_F(DhcpServer, AnAddressSeenInUseIsNotOffered) {
  const auto address = vm.ask(vm.discover())->yiaddr();
  server.expire(at_second(60));
  EXPECT_TRUE(server.mark_in_use(address, {mac_number(7), "vm2", {}}, at_second(60)));
  vm.now = at_second(61);
  EXPECT_NE(vm.ask(vm.discover())->yiaddr(), address);
  EXPECT_EQ(state_of(address), LeaseState::Declined);
}

TEST_F(DhcpServer, ALeaseReleasedByHandIsFree) {
  const auto address = vm.acquire().value();
  EXPECT_TRUE(server.release(address));
  EXPECT_FALSE(server.release(address));
  EXPECT_EQ(other.ask(other.selecting(address))->type(), MessageType::Ack);
}

TEST_F(DhcpServer, AnInfiniteLeaseNeverEndsWhateverTheClockDoes) {
  auto settings = default_network();
  settings.lease_time = kInfiniteLease;
  server.reconfigure(settings);
  const auto address = vm.acquire().value();
  EXPECT_EQ(server.leases().at(0).expires, kNever);
  const auto changes = server.take_changes();
  vm.now = at_second(-1000);
  vm.ask(vm.renewing(address));
  EXPECT_EQ(server.leases().at(0).expires, kNever);
  EXPECT_EQ(server.expire(at_second(1'000'000'000)), 0u);

  Server restarted{settings, 1};
  EXPECT_EQ(restarted.load(read_journal_of(changes), at_second(10)), 1u);
  EXPECT_EQ(restarted.leases().at(0).expires, kNever);
  Server shorter{default_network(), 1};
  shorter.load(changes, at_second(10));
  EXPECT_EQ(shorter.leases().at(0).expires, at_second(3610)) << "the configuration is another one now";
}

class DhcpServerThatChecks : public DhcpServer {
 protected:
  void SetUp() override {
    auto settings = default_network();
    settings.check_before_offer = true;
    server.reconfigure(settings);
  }
};

TEST_F(DhcpServerThatChecks, AnAddressThatNobodyHadIsOfferedOnceItIsKnownToBeFree) {
  const RequestFrame discover = vm.discover();
  EXPECT_FALSE(vm.ask(discover));
  const auto address = server.take_check()->address;
  EXPECT_FALSE(server.take_check());
  server.mark_free(address, vm.now);
  const auto offer = vm.ask(discover).value();
  EXPECT_EQ(offer.yiaddr(), address);
  EXPECT_EQ(vm.ask(vm.selecting(address))->type(), MessageType::Ack);
  EXPECT_EQ(vm.ask(vm.discover())->yiaddr(), address) << "it has it now: nothing to ask";
}

TEST_F(DhcpServerThatChecks, AnAddressThatIsInUseIsNotOfferedToAnybody) {
  const RequestFrame discover = vm.discover();
  vm.ask(discover);
  const auto used = server.take_check()->address;
  EXPECT_TRUE(server.mark_in_use(used, {mac("52:54:00:bb:00:01"), "vm2", {}}, vm.now));
  vm.ask(discover);
  const auto next = server.take_check()->address;
  EXPECT_NE(next, used);
  EXPECT_EQ(state_of(used), LeaseState::Declined);
}

TEST_F(DhcpServerThatChecks, WhatIsKnownOfAnAddressIsBelievedForHalfAMinute) {
  const RequestFrame discover = vm.discover();
  vm.ask(discover);
  const auto address = server.take_check()->address;
  server.mark_free(address, vm.now);
  vm.now += seconds(31);
  EXPECT_FALSE(vm.ask(discover));
  EXPECT_EQ(server.take_check()->address, address);
}

TEST_F(DhcpServerThatChecks, RequestsAreAnsweredAtOnce) {
  EXPECT_EQ(vm.ask(vm.init_reboot(ip("192.168.122.77")))->type(), MessageType::Ack);
  EXPECT_FALSE(server.take_check());
}

TEST_F(DhcpServer, LimitsOfAPortStandBeforeThoseOfTheNetwork) {
  const auto discover = [&](unsigned number, unsigned leases) {
    return server.answer(
        request_of(MessageType::Discover, mac_number(number), number).frame(),
        {.port = "segment", .limits = PortLimits{.messages_per_second = 0, .leases = leases}}, at_second(0));
  };
  for (unsigned i = 1; i <= 40; ++i) EXPECT_TRUE(discover(i, 0)) << i;
  EXPECT_FALSE(discover(41, 40));
  EXPECT_EQ(ignored(Ignored::PortLimit), 1u);
}

}  // namespace
}  // namespace vmnat::dhcp::test
