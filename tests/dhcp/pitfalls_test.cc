// SPDX-License-Identifier: Apache-2.0
// The traps that DHCP servers for VMs are known to fall into: a test for each, named after it.
#include <gtest/gtest.h>

#include "dhcp/server.h"
#include "net/wire.h"
#include "tests/dhcp/test_client.h"

namespace vmnat::dhcp::test {
namespace {

class Pitfall : public testing::Test {
 protected:
  void TearDown() override { EXPECT_EQ(server.check_invariants(), ""); }
  void use(const NetworkSettings& changed) { server.reconfigure(changed); }
  std::uint64_t ignored(Ignored reason) const { return ignored_for(server, reason); }

  NetworkSettings settings = default_network();
  Server server{default_network(), 1};
  const net::MacAddr vm_mac = mac("52:54:00:aa:00:01");
  TestClient vm{server, "vm1", vm_mac};
  TestClient clone{server, "vm2", mac("52:54:00:aa:00:02")};
};

TEST_F(Pitfall, 01_TheBroadcastFlagIsHeededBothWays) {
  const Reply unicast = vm.ask(vm.discover()).value();
  EXPECT_EQ(unicast.datagram.destination_mac, vm_mac);
  EXPECT_EQ(unicast.datagram.destination, (net::Endpoint{unicast.yiaddr(), kClientPort}));
  const Reply broadcast = vm.ask(vm.discover().broadcast_flag()).value();
  EXPECT_EQ(broadcast.datagram.destination_mac, net::kBroadcastMac);
  EXPECT_EQ(broadcast.datagram.destination, (net::Endpoint{kBroadcastAddress, kClientPort}));
  EXPECT_TRUE(broadcast.message.header.wants_broadcast());
}

TEST_F(Pitfall, 02_RepliesCarryAFullUdpChecksum) {
  const Reply offer = vm.ask(vm.discover()).value();  // read_reply() verifies the sum
  EXPECT_NE(net::view<net::UdpHeader>(ByteView{offer.frame}, 34)->checksum.raw(), 0);
}

TEST_F(Pitfall, 03_RepliesHaveAtLeast300Bytes) {
  EXPECT_EQ(vm.ask(vm.discover().asking_for({1}))->datagram.payload.size(), 300u);
  EXPECT_EQ(vm.ask(vm.init_reboot(ip("10.0.0.1")))->datagram.payload.size(), 300u);
}

TEST_F(Pitfall, 04_Option57IsHonouredAnd576NotExceededWithoutIt) {
  for (std::uint8_t code = 224; code < 228; ++code)
    settings.options.push_back({.code = code, .value = Bytes(200, std::byte{1}), .forced = true});
  use(settings);
  const Reply small = vm.ask(vm.discover()).value();
  EXPECT_LE(small.datagram.payload.size(), 548u);
  EXPECT_TRUE(small.options().has(Option::SubnetMask) && small.options().has(Option::Router));
  EXPECT_EQ(server.counters().options_left_out, 3u);
  const Reply large = vm.ask(vm.discover().with(Option::MaxMessageSize, hex("05dc"))).value();
  EXPECT_GT(large.datagram.payload.size(), 1000u);
  EXPECT_LE(large.datagram.payload.size(), 1472u);
  EXPECT_EQ(server.counters().options_left_out, 3u);
}

TEST_F(Pitfall, 05_OverloadIsReadInRequestsAndNeverSent) {
  const auto wish = ip("192.168.122.66");
  RequestFrame request = vm.discover().with(Option::Overload, hex("01"));
  const Bytes in_file = hex("32 04 c0 a8 7a 42 ff");
  std::memcpy(request.header.file.data(), in_file.data(), in_file.size());
  const Reply offer = vm.ask(request).value();
  EXPECT_EQ(offer.yiaddr(), wish);
  EXPECT_FALSE(offer.options().has(Option::Overload));
  EXPECT_EQ(offer.message.header.file[0], 0);
}

TEST_F(Pitfall, 06_TheServerIdentifierDecidesWhoIsMeant) {
  const auto offered = vm.ask(vm.discover())->yiaddr();
  RequestFrame elsewhere = vm.message(MessageType::Request)
                               .with(Option::ServerId, ip("192.168.122.99"))
                               .with(Option::RequestedAddress, offered);
  EXPECT_FALSE(vm.ask(elsewhere));
  EXPECT_TRUE(server.leases().empty());  // our offer was declined by it
  EXPECT_EQ(ignored(Ignored::OtherServer), 1u);

  const auto address = vm.acquire().value();
  RequestFrame decline = vm.message(MessageType::Decline).with(Option::RequestedAddress, address);
  EXPECT_FALSE(vm.ask(decline));
  RequestFrame release = vm.message(MessageType::Release);
  release.header.ciaddr = address;
  EXPECT_FALSE(vm.ask(release));
  EXPECT_EQ(ignored(Ignored::BadRequest), 2u);
  EXPECT_FALSE(vm.ask(release.with(Option::ServerId, ip("192.168.122.99"))));
  EXPECT_EQ(ignored(Ignored::OtherServer), 2u);
  EXPECT_EQ(server.leases().at(0).state, LeaseState::Bound);
}

TEST_F(Pitfall, 07_RenewalComesByUnicastAndRebindingByBroadcastAndBothAreAnsweredToCiaddr) {
  const auto address = vm.acquire().value();
  for (const RequestFrame& request : {vm.renewing(address), vm.rebinding(address)}) {
    const Reply ack = vm.ask(request).value();
    EXPECT_EQ(ack.type(), MessageType::Ack);
    EXPECT_EQ(ack.datagram.destination, (net::Endpoint{address, kClientPort}));
    EXPECT_EQ(ack.datagram.destination_mac, vm_mac);
  }
}

TEST_F(Pitfall, 08_InitRebootOnTheWrongNetworkIsRefusedAtOnceAndAFreeAddressIsConfirmed) {
  const Reply nak = vm.ask(vm.init_reboot(ip("192.168.5.10"))).value();
  EXPECT_EQ(nak.type(), MessageType::Nak);
  EXPECT_EQ(nak.datagram.destination.address, kBroadcastAddress);
  EXPECT_EQ(vm.ask(vm.init_reboot(ip("192.168.122.10")))->type(), MessageType::Ack);  // authoritative
  EXPECT_EQ(clone.ask(clone.init_reboot(ip("192.168.122.10")))->type(), MessageType::Nak);
}

TEST_F(Pitfall, 09_ClonesWithOneClientIdGetDifferentAddressesUnlessToldOtherwise) {
  const Bytes machine_id = hex("ff 00 00 00 01 00 02 00 00 ab 11 22 33 44 55 66 77");
  const auto offered = [&](TestClient& client) {
    return client.ask(client.discover().with(Option::ClientId, machine_id))->yiaddr();
  };
  EXPECT_NE(offered(vm), offered(clone));
  settings.identity = Identity::ClientId;
  Server by_id{settings, 1};
  TestClient one{by_id, "vm1", vm_mac}, two{by_id, "vm1", mac("52:54:00:aa:00:02")};
  EXPECT_EQ(offered(one), offered(two));
}

TEST_F(Pitfall, 09b_IdentityByPortSurvivesANewMac) {
  settings.identity = Identity::Port;
  Server by_port{settings, 1};
  TestClient before{by_port, "vm1", vm_mac}, after{by_port, "vm1", mac("52:54:00:bb:00:09")};
  TestClient neighbour{by_port, "vm2", mac("52:54:00:aa:00:02")};
  const auto address = before.acquire();
  EXPECT_NE(neighbour.acquire(), address);
  EXPECT_EQ(after.acquire(), address);
}

TEST_F(Pitfall, 10_TheClientIdIsEchoedInEveryReply) {
  const Bytes id = hex("01 52 54 00 aa 00 01");
  const auto echoed = [&](RequestFrame request) {
    const Reply reply = vm.ask(request.with(Option::ClientId, id)).value();
    const ByteView value = reply.options().bytes(Option::ClientId);
    return Bytes{value.begin(), value.end()};
  };
  EXPECT_EQ(echoed(vm.discover()), id);
  EXPECT_EQ(echoed(vm.init_reboot(ip("10.0.0.1"))), id);  // NAK
  EXPECT_EQ(echoed(vm.selecting(ip("192.168.122.9"))), id);
  EXPECT_EQ(echoed(vm.inform(ip("192.168.122.9"))), id);
  EXPECT_FALSE(vm.ask(vm.discover())->options().has(Option::ClientId));
}

TEST_F(Pitfall, 11_AMacThatIsNotTheSendersIsIgnored) {
  RequestFrame spoofed = vm.discover();
  spoofed.header.chaddr = mac("52:54:00:aa:00:02");
  EXPECT_FALSE(vm.ask(spoofed));
  EXPECT_EQ(ignored(Ignored::ForeignMac), 1u);
  EXPECT_TRUE(server.leases().empty());
}

TEST_F(Pitfall, 12_ClasslessRoutesIncludeTheDefaultRoute) {
  settings.routes = {{.to = net::parse_ipv4_prefix("10.0.0.0/8").value(), .via = ip("192.168.122.5")},
                     {.to = net::parse_ipv4_prefix("172.16.5.128/25").value(), .via = ip("192.168.122.6")}};
  use(settings);
  const Reply offer = vm.ask(vm.discover().asking_for({3, 121, 249})).value();
  const Bytes expected = hex("08 0a c0a87a05 19 ac 10 05 80 c0a87a06 00 c0a87a01");
  for (const Option code : {Option::ClasslessRoutes, Option::ClasslessRoutesMicrosoft})
    EXPECT_TRUE(std::ranges::equal(offer.options().bytes(code), expected));
  EXPECT_FALSE(vm.ask(vm.discover().asking_for({3}))->options().has(Option::ClasslessRoutes));
  settings.offer_router = false;
  use(settings);
  const Reply isolated = vm.ask(vm.discover()).value();
  EXPECT_FALSE(isolated.options().has(Option::Router));
  EXPECT_EQ(isolated.options().bytes(Option::ClasslessRoutes).size(), expected.size() - 5);
}

TEST_F(Pitfall, 13_AVmThatMovesToAnotherPortKeepsItsAddressOnceItsLeaseIsGivenUp) {
  const auto address = vm.acquire();
  TestClient moved{server, "vm9", vm_mac};
  EXPECT_FALSE(moved.acquire());
  vm.ask(vm.release(*address));
  EXPECT_EQ(moved.acquire(), address);
  ASSERT_EQ(server.leases().size(), 1u);
  EXPECT_EQ(server.leases().at(0).port, "vm9");
}

TEST_F(Pitfall, 14_ARepeatedDiscoverGetsTheSameOfferAndTakesNoSecondAddress) {
  const RequestFrame discover = vm.discover();
  const Reply first = vm.ask(discover).value();
  const Reply second = vm.ask(discover).value();
  EXPECT_EQ(first.frame, second.frame);
  EXPECT_EQ(server.leases().size(), 1u);
}

TEST_F(Pitfall, 15_InformIsAnsweredWithoutAddressAndLease) {
  const auto address = ip("192.168.122.200");
  const Reply ack = vm.ask(vm.inform(address)).value();
  EXPECT_EQ(ack.type(), MessageType::Ack);
  EXPECT_EQ(ack.yiaddr(), net::Ipv4Addr{});
  EXPECT_EQ(ack.message.header.ciaddr, address);
  EXPECT_EQ(ack.datagram.destination, (net::Endpoint{address, kClientPort}));
  for (const Option code : {Option::LeaseTime, Option::RenewalTime, Option::RebindingTime})
    EXPECT_FALSE(ack.options().has(code));
  EXPECT_TRUE(ack.options().has(Option::DnsServers));
  EXPECT_TRUE(server.leases().empty());
  EXPECT_FALSE(vm.ask(vm.inform(ip("10.0.0.9"))));
}

TEST_F(Pitfall, 16_AClockThatGoesBackwardsNeitherEndsNorProlongsLeases) {
  vm.now = at_second(100'000);
  const auto address = vm.acquire().value();
  server.clock_was_set(std::chrono::seconds{-100'000});
  clone.now = at_second(0);
  EXPECT_NE(clone.acquire(), address);
  EXPECT_EQ(server.leases().size(), 2u);
  server.expire(at_second(3599));
  EXPECT_EQ(server.leases().at(0).state, LeaseState::Bound);
  EXPECT_EQ(server.expire(at_second(3600)), 2u);
}

TEST_F(Pitfall, 16b_AClockThatStepsForwardEndsNoLease) {
  vm.now = at_second(0);
  const auto address = vm.acquire().value();
  const std::chrono::seconds years{1'700'000'000};  // from 1970, as without a battery, to what NTP says
  server.clock_was_set(years);
  EXPECT_EQ(server.expire(at_second(3599) + years), 0u);
  EXPECT_EQ(server.leases().at(0).address, address);
  EXPECT_EQ(server.leases().at(0).expires, at_second(3600) + years);
  EXPECT_EQ(server.expire(at_second(3600) + years), 1u);
}

TEST_F(Pitfall, 17_AFloodFromOnePortStopsAtItsLimitAndOffersEnd) {
  for (unsigned i = 0; i < 1000; ++i) {
    TestClient invented{server, "vm1", mac_number(0x20000 + i)};
    invented.ask(invented.discover());
  }
  EXPECT_EQ(server.leases().size(), 16u);
  EXPECT_EQ(ignored(Ignored::PortLimit), 984u);
  EXPECT_TRUE(clone.acquire());
  TestClient known{server, "vm1", mac_number(0x20003)};
  EXPECT_TRUE(known.acquire());  // who has an offer may go on
  known.now = at_second(60);
  TestClient late{server, "vm1", mac_number(2000)};
  late.now = at_second(60);
  EXPECT_TRUE(late.acquire());
}

TEST_F(Pitfall, 17b_AFloodOfDeclinesStopsAtTheLimitToo) {
  for (unsigned i = 0; i < 200; ++i) {
    TestClient invented{server, "vm1", mac_number(i)};
    if (const auto address = invented.acquire()) invented.ask(invented.decline(*address));
  }
  EXPECT_EQ(server.leases().size(), 16u);
  EXPECT_TRUE(clone.acquire());
}

TEST_F(Pitfall, 17c_ARelayDoesNotLiftTheLimit) {
  for (unsigned i = 0; i < 100; ++i) {
    TestClient invented{server, "vm1", vm_mac};
    invented.may_relay = true;
    RequestFrame relayed = invented.discover();
    relayed.header.giaddr = ip("192.168.122.9");
    relayed.header.chaddr = mac_number(i);
    invented.ask(relayed);
  }
  EXPECT_EQ(server.leases().size(), 16u);
}

TEST_F(Pitfall, 17d_AFloodOfMessagesCostsItsOwnPortAlone) {
  settings.limits.messages_per_second = 100;
  use(settings);
  for (unsigned i = 0; i < 10'000; ++i) vm.ask(vm.discover());
  EXPECT_EQ(server.counters().sent[kind_of(MessageType::Offer)], 200u);
  EXPECT_EQ(ignored(Ignored::RateLimit), 9800u);
  EXPECT_TRUE(clone.acquire());
  vm.now = at_second(0) + std::chrono::milliseconds{25};  // two and a half messages later
  EXPECT_TRUE(vm.acquire());
  EXPECT_FALSE(vm.ask(vm.discover()));
  vm.now = at_second(-1000);  // a clock set back gives nothing
  EXPECT_FALSE(vm.ask(vm.discover()));
  vm.now = at_second(-999);
  EXPECT_TRUE(vm.ask(vm.discover()));
}

TEST_F(Pitfall, 18_AGiantClientIdIsTakenInPiecesAndLeftOutOfRecordAndReply) {
  const Reply longest = vm.ask(vm.discover().with(Option::ClientId, Bytes(255, std::byte{7}))).value();
  EXPECT_EQ(longest.options().bytes(Option::ClientId).size(), 255u);
  EXPECT_EQ(server.leases().at(0).client_id.size(), 255u);
  settings.identity = Identity::ClientId;
  use(settings);
  const Reply giant = clone.ask(clone.discover().with(Option::ClientId, Bytes(1000, std::byte{7}))).value();
  EXPECT_FALSE(giant.options().has(Option::ClientId));
  EXPECT_EQ(server.leases().size(), 2u);  // told apart by its MAC
  for (const Lease& lease : server.leases()) EXPECT_LE(lease.client_id.size(), 255u);
}

// Beyond the list: what the network's other edges need.

TEST_F(Pitfall, ARelayedRequestOfThisNetworkIsAnsweredToTheRelayAndItsOptionComesLast) {
  const auto relay_mac = mac("52:54:00:cc:00:01");
  TestClient relay{server, "vm3", relay_mac};
  relay.may_relay = true;
  RequestFrame request = relay.discover().with(Option::RelayAgent, hex("01 04 76 6d 31 2d"));
  request.header.giaddr = ip("192.168.122.9");
  request.header.chaddr = vm_mac;
  const Reply offer = relay.ask(request).value();
  EXPECT_EQ(offer.datagram.destination, (net::Endpoint{ip("192.168.122.9"), kServerPort}));
  EXPECT_EQ(offer.datagram.destination_mac, relay_mac);
  const Bytes ending = hex("52 06 01 04 76 6d 31 2d ff");
  const ByteView payload = offer.datagram.payload;
  EXPECT_FALSE(std::ranges::search(payload, ending).empty());
  request.header.giaddr = ip("192.168.5.9");
  EXPECT_FALSE(relay.ask(request));
  EXPECT_EQ(ignored(Ignored::ForeignRelay), 1u);
}

TEST_F(Pitfall, RapidCommitIsNeverNamedInAnOffer) {
  settings.rapid_commit = false;
  use(settings);
  const Reply offer = vm.ask(vm.discover().with(Option::RapidCommit, Bytes{})).value();
  EXPECT_EQ(offer.type(), MessageType::Offer);
  EXPECT_FALSE(offer.options().has(Option::RapidCommit));
}

TEST_F(Pitfall, NetworkBootIsInTheHeaderAndInOptionsWhenAskedForByArchitecture) {
  settings.boot = {{.architecture = 7, .server = ip("192.168.122.1"), .file = "uefi.efi"},
                   {.server = ip("192.168.122.4"), .server_name = "boot.lab", .file = "pxelinux.0"}};
  use(settings);
  const Reply bios = vm.ask(vm.discover().asking_for({1, 3})).value();
  EXPECT_EQ(bios.message.header.siaddr, ip("192.168.122.4"));
  EXPECT_STREQ(bios.message.header.file.data(), "pxelinux.0");
  EXPECT_STREQ(bios.message.header.sname.data(), "boot.lab");
  EXPECT_FALSE(bios.options().has(Option::BootFileName));
  const Reply uefi = vm.ask(vm.discover().asking_for({66, 67}).with(Option::ClientArch, hex("0007"))).value();
  EXPECT_EQ(uefi.message.header.siaddr, ip("192.168.122.1"));
  EXPECT_EQ(uefi.options().text(Option::BootFileName), "uefi.efi");
  EXPECT_EQ(uefi.options().text(Option::TftpServerName), "192.168.122.1");
}

TEST_F(Pitfall, RawOptionsReplaceBuiltInOnesAndAreSentIfAskedOrForced) {
  settings.options = {{.code = 252, .value = hex("68 69")},
                      {.code = 224, .value = hex("0a 0b"), .forced = true},
                      {.code = 6, .value = hex("01 01 01 01")}};
  use(settings);
  const Reply offer = vm.ask(vm.discover().asking_for({1, 6})).value();
  EXPECT_EQ(offer.options().address(Option::DnsServers), ip("1.1.1.1"));
  EXPECT_EQ(offer.options().text(Option{224}), "\x0a\x0b");
  EXPECT_FALSE(offer.options().has(Option{252}));
  EXPECT_EQ(vm.ask(vm.discover().asking_for({252}))->options().text(Option{252}), "hi");
}

TEST_F(Pitfall, SearchListAndTimeServersAreEncodedAsTheirRfcsSay) {
  settings.search = {"lab.example", "b.c"};
  settings.ntp = {ip("192.168.122.1"), ip("192.168.122.2")};
  use(settings);
  const Reply offer = vm.ask(vm.discover().asking_for({42, 119})).value();
  EXPECT_TRUE(std::ranges::equal(offer.options().bytes(Option::DomainSearch),
                                 hex("03 6c6162 07 6578616d706c65 00 01 62 01 63 00")));
  EXPECT_EQ(offer.options().bytes(Option::NtpServers).size(), 8u);
}

TEST_F(Pitfall, FramesForOthersAreNotAnswered) {
  RequestFrame foreign_mac = vm.discover();
  foreign_mac.destination_mac = mac("52:54:00:00:00:77");
  RequestFrame foreign_address = vm.discover();
  foreign_address.destination.address = ip("192.168.122.99");
  RequestFrame foreign_port = vm.discover();
  foreign_port.destination.port = kClientPort;
  for (const RequestFrame& request : {foreign_mac, foreign_address, foreign_port})
    EXPECT_FALSE(vm.ask(request));
  EXPECT_EQ(ignored(Ignored::NotForUs), 3u);
}

TEST_F(Pitfall, MessagesThatNoClientSendsAreIgnoredByReason) {
  for (const MessageType type : {MessageType::Offer, MessageType::Ack, MessageType::Nak})
    EXPECT_FALSE(vm.ask(vm.message(type)));
  RequestFrame bootp = vm.discover();
  bootp.options.clear();
  EXPECT_FALSE(vm.ask(bootp));
  EXPECT_EQ(ignored(Ignored::Bootp), 1u);
  for (const char* type : {"00", "09", "01 00"}) {
    RequestFrame strange = bootp;
    EXPECT_FALSE(vm.ask(strange.with(Option::MessageType, hex(type))));
  }
  EXPECT_EQ(ignored(Ignored::UnknownType), 6u);
  RequestFrame reply = vm.discover();
  reply.header.op = Op::Reply;
  EXPECT_FALSE(vm.ask(reply));
  EXPECT_EQ(ignored(Ignored::NotDhcp), 1u);
  RequestFrame infiniband = vm.discover();
  infiniband.header.hardware_type = 32;
  RequestFrame short_address = vm.discover();
  short_address.header.hardware_length = 5;
  for (const RequestFrame& request : {infiniband, short_address}) EXPECT_FALSE(vm.ask(request));
  TestClient group{server, "vm1", mac("01:00:5e:00:00:01")}, nobody{server, "vm1", net::MacAddr{}};
  EXPECT_FALSE(group.ask(group.discover()));
  EXPECT_FALSE(nobody.ask(nobody.discover()));
  EXPECT_EQ(ignored(Ignored::BadHardware), 4u);
  EXPECT_FALSE(vm.ask(vm.message(MessageType::Request)));  // neither option 50 nor ciaddr
  EXPECT_EQ(ignored(Ignored::BadRequest), 1u);
}

}  // namespace
}  // namespace vmnat::dhcp::test
