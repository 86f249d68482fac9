// SPDX-License-Identifier: Apache-2.0
// Messages whose ciaddr, source or option 50 are not as RFC 2131 table 5 wants them: what comes of each,
// where the answer goes, and that no lease suffers.
#include <gtest/gtest.h>

#include "dhcp/server.h"
#include "tests/dhcp/test_client.h"

namespace vmnat::dhcp::test {
namespace {

const net::MacAddr kVm = mac("52:54:00:aa:00:01");
const net::Ipv4Addr kGateway = ip("192.168.122.1"), kStatic = ip("192.168.122.200"),
                    kElsewhere = ip("10.0.0.9");

struct CiaddrTest : testing::Test {
  void TearDown() override { EXPECT_EQ(server.check_invariants(), ""); }
  std::uint64_t ignored(Ignored reason) const { return ignored_for(server, reason); }
  LeaseState state_of(net::Ipv4Addr address) const {
    const auto* record = server.table().at(address);
    return record == nullptr ? LeaseState::Reserved : record->lease.state;
  }
  // An INFORM with this ciaddr, sent from this address.
  RequestFrame inform(net::Ipv4Addr ciaddr, net::Ipv4Addr source) {
    RequestFrame request = vm.inform(ciaddr);
    request.source.address = source;
    return request;
  }

  Server server{default_network(), 1};
  TestClient vm{server, "vm1", kVm};
  TestClient other{server, "vm2", mac("52:54:00:aa:00:02")};
};

TEST_F(CiaddrTest, AnInformWithoutCiaddrIsAnsweredToWhereItCameFrom) {
  for (const bool broadcast : {false, true}) {
    RequestFrame request = inform({}, kStatic);
    if (broadcast) request.broadcast_flag();
    const Reply ack = vm.ask(request).value();
    EXPECT_EQ(ack.type(), MessageType::Ack);
    EXPECT_EQ(ack.datagram.destination, (net::Endpoint{kStatic, kClientPort}));
    EXPECT_EQ(ack.datagram.destination_mac, kVm);
    EXPECT_EQ(ack.yiaddr(), net::Ipv4Addr{});
    EXPECT_FALSE(ack.options().has(Option::LeaseTime));
    EXPECT_TRUE(ack.options().has(Option::DnsServers));
  }
}

TEST_F(CiaddrTest, AnInformIsAnsweredToItsCiaddrWhereverItCameFrom) {
  for (const net::Ipv4Addr source : {kStatic, ip("192.168.122.77"), kElsewhere, net::Ipv4Addr{}}) {
    const Reply ack = vm.ask(inform(kStatic, source)).value();
    EXPECT_EQ(ack.datagram.destination, (net::Endpoint{kStatic, kClientPort})) << net::to_string(source);
    EXPECT_EQ(ack.datagram.destination_mac, kVm);
    EXPECT_EQ(ack.message.header.ciaddr, kStatic);
  }
}

TEST_F(CiaddrTest, AnInformFromNoHostOfTheNetworkIsIgnored) {
  const std::pair<net::Ipv4Addr, net::Ipv4Addr> cases[] = {{{}, {}},
                                                           {{}, kElsewhere},
                                                           {kElsewhere, {}},
                                                           {kElsewhere, kStatic},
                                                           {kGateway, {}},
                                                           {{}, kGateway},
                                                           {ip("192.168.122.255"), kStatic},
                                                           {ip("192.168.122.0"), kStatic},
                                                           {kBroadcastAddress, kStatic}};
  for (const auto& [ciaddr, source] : cases)
    EXPECT_FALSE(vm.ask(inform(ciaddr, source)))
        << net::to_string(ciaddr) << " from " << net::to_string(source);
  EXPECT_EQ(ignored(Ignored::BadRequest), std::size(cases));
}

TEST_F(CiaddrTest, ARelayedInformIsAnsweredToTheRelayAndItsAddressIsNotTheRelays) {
  vm.may_relay = true;
  RequestFrame request = inform(kStatic, ip("192.168.122.9"));
  request.header.giaddr = ip("192.168.122.9");
  EXPECT_EQ(vm.ask(request)->datagram.destination, (net::Endpoint{ip("192.168.122.9"), kServerPort}));
  request.header.ciaddr = {};
  EXPECT_FALSE(vm.ask(request));
}

TEST_F(CiaddrTest, AnInformOfAnothersAddressTakesNothingFromIt) {
  const auto address = other.acquire().value();
  const Reply ack = vm.ask(inform(address, address)).value();
  EXPECT_EQ(ack.datagram.destination_mac, kVm) << "the sender hears it, not the holder";
  EXPECT_EQ(server.table().at(address)->lease.port, "vm2");
  EXPECT_EQ(server.leases().size(), 1u);
}

TEST_F(CiaddrTest, ADiscoverWithCiaddrIsAnsweredAsOneWithout) {
  for (const net::Ipv4Addr ciaddr : {kStatic, kElsewhere, kGateway}) {
    RequestFrame request = vm.discover();
    request.header.ciaddr = ciaddr;
    const Reply offer = vm.ask(request).value();
    EXPECT_EQ(offer.type(), MessageType::Offer);
    EXPECT_EQ(offer.message.header.ciaddr, net::Ipv4Addr{}) << "RFC 2131 table 3";
    EXPECT_EQ(offer.datagram.destination, (net::Endpoint{offer.yiaddr(), kClientPort}));
    const Reply broadcast = vm.ask(request.broadcast_flag()).value();
    EXPECT_EQ(broadcast.datagram.destination.address, kBroadcastAddress) << "it hears nothing else";
  }
}

TEST_F(CiaddrTest, ASelectingClientIsAnsweredAtTheAddressThatItGetsNotAtItsCiaddr) {
  const auto address = vm.ask(vm.discover())->yiaddr();
  RequestFrame request = vm.selecting(address);
  request.header.ciaddr = kElsewhere;
  const Reply ack = vm.ask(request).value();
  EXPECT_EQ(ack.type(), MessageType::Ack);
  EXPECT_EQ(ack.yiaddr(), address);
  EXPECT_EQ(ack.datagram.destination, (net::Endpoint{address, kClientPort}));
}

TEST_F(CiaddrTest, ARenewalOfAnAddressOfAnotherSubnetIsRefusedByBroadcast) {
  const auto address = vm.acquire().value();
  for (const RequestFrame& request : {vm.renewing(kElsewhere), vm.rebinding(kElsewhere)}) {
    const Reply nak = vm.ask(request).value();
    EXPECT_EQ(nak.type(), MessageType::Nak);
    EXPECT_EQ(nak.datagram.destination_mac, net::kBroadcastMac);
  }
  EXPECT_EQ(state_of(address), LeaseState::Bound) << "what the client holds here stays its own";
}

TEST_F(CiaddrTest, ARenewalIsTheCiaddrsWhateverTheSourceAndWithAServerIdentifierToo) {
  const auto address = vm.acquire().value();
  RequestFrame from_elsewhere = vm.renewing(address);
  from_elsewhere.source.address = kElsewhere;
  for (const RequestFrame& request : {from_elsewhere, vm.renewing(address).with(Option::ServerId, kGateway),
                                      vm.renewing(address).broadcast_flag(),
                                      vm.rebinding(address).with(Option::RequestedAddress, address)}) {
    const Reply ack = vm.ask(request).value();
    EXPECT_EQ(ack.type(), MessageType::Ack);
    EXPECT_EQ(ack.datagram.destination, (net::Endpoint{address, kClientPort}));
  }
  EXPECT_EQ(vm.ask(vm.renewing(kGateway))->type(), MessageType::Nak);
  EXPECT_EQ(vm.ask(vm.renewing(ip("192.168.122.255")))->type(), MessageType::Nak);
}

TEST_F(CiaddrTest, AReleaseOfAnotherAddressThanOnesOwnEndsNothing) {
  const auto address = vm.acquire().value(), others = other.acquire().value();
  RequestFrame with_option_50 = vm.release({}).with(Option::RequestedAddress, address);
  for (const RequestFrame& request :
       {vm.release(others), vm.release(kStatic), vm.release(kElsewhere), with_option_50})
    EXPECT_FALSE(vm.ask(request));
  EXPECT_EQ(ignored(Ignored::NotTheHolder), 3u);
  EXPECT_EQ(ignored(Ignored::BadRequest), 1u);
  EXPECT_EQ(state_of(address), LeaseState::Bound);
  EXPECT_EQ(state_of(others), LeaseState::Bound);
  RequestFrame by_broadcast = vm.release(address);
  by_broadcast.destination_mac = net::kBroadcastMac;
  by_broadcast.destination.address = kBroadcastAddress;
  vm.ask(by_broadcast);
  EXPECT_EQ(state_of(address), LeaseState::Released);
}

}  // namespace
}  // namespace vmnat::dhcp::test
