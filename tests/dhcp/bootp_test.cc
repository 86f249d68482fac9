// SPDX-License-Identifier: Apache-2.0
// BOOTP clients (RFC 951, RFC 1534): what is reserved for them they get, for ever; the others are ignored.
#include <gtest/gtest.h>

#include "dhcp/journal.h"
#include "dhcp/server.h"
#include "tests/dhcp/test_client.h"

namespace vmnat::dhcp::test {
namespace {

const net::MacAddr kVm = mac("52:54:00:aa:00:01"), kStranger = mac("52:54:00:aa:00:02");
const net::Ipv4Addr kReserved = ip("192.168.122.10"), kOfPort = ip("192.168.122.11");

struct BootpTest : testing::Test {
  BootpTest() {
    settings.reservations = {{.mac = kVm, .port = {}, .address = kReserved, .hostname = "net1"},
                             {.mac = {}, .port = "vm3", .address = kOfPort, .hostname = {}}};
    settings.boot = {{.server = ip("192.168.122.4"), .file = "pxelinux.0"}};
    use(settings);
  }
  void TearDown() override { EXPECT_EQ(server.check_invariants(), ""); }
  void use(const NetworkSettings& changed) { server = Server{changed, 1}; }
  std::uint64_t ignored(Ignored reason) const { return ignored_for(server, reason); }

  // As Linux' ip=bootp sends it: RFC 1497's cookie, and options that it has no values for.
  static RequestFrame bootrequest(net::MacAddr client) {
    RequestFrame request = request_of(MessageType::Discover, client, 7);
    request.options.clear();
    return request.with(Option::SubnetMask, net::Ipv4Addr{}).with(Option::HostName, Bytes(32));
  }
  struct BootReply {
    Frame frame;
    Datagram datagram;
    Message message;
  };
  std::optional<BootReply> ask(const RequestFrame& request, std::string_view port,
                               WallTime now = at_second(0)) {
    auto frame = server.answer(request.frame(), {.port = port, .may_relay = port == "lab"}, now);
    if (!frame) return std::nullopt;
    BootReply reply{std::move(*frame), {}, {}};
    reply.datagram = std::get<Datagram>(parse_frame(reply.frame));
    reply.message = parse_request(reply.datagram.payload).value();
    return reply;
  }
  Lease lease_of(net::Ipv4Addr address) const {
    const auto* record = server.table().at(address);
    return record == nullptr ? Lease{} : record->lease;
  }

  NetworkSettings settings = default_network();
  Server server{default_network(), 1};
};

TEST_F(BootpTest, AClientWithAReservationGetsABootReplyOf300BytesWithoutAnythingOfDhcps) {
  const auto reply = ask(bootrequest(kVm), "vm1").value();
  const MessageHeader& header = reply.message.header;
  EXPECT_EQ(header.op, Op::Reply);
  EXPECT_EQ(header.xid.host(), 7u);
  EXPECT_EQ(header.chaddr, kVm);
  EXPECT_EQ(header.yiaddr, kReserved);
  EXPECT_EQ(header.siaddr, ip("192.168.122.4"));
  EXPECT_STREQ(header.file.data(), "pxelinux.0");
  EXPECT_EQ(reply.datagram.payload.size(), 300u);
  EXPECT_EQ(reply.datagram.destination, (net::Endpoint{kReserved, kClientPort}));
  EXPECT_EQ(reply.datagram.destination_mac, kVm);
  const OptionSet& options = reply.message.options;
  EXPECT_EQ(options.address(Option::SubnetMask), ip("255.255.255.0"));
  EXPECT_EQ(options.address(Option::Router), settings.gateway.address);
  EXPECT_EQ(options.address(Option::DnsServers), ip("9.9.9.9"));
  EXPECT_EQ(options.text(Option::HostName), "net1");
  for (const Option code : {Option::MessageType, Option::ServerId, Option::LeaseTime, Option::RenewalTime,
                            Option::RebindingTime, Option::ClientId, Option::Overload})
    EXPECT_FALSE(options.mentions(code)) << static_cast<unsigned>(code);
  EXPECT_EQ(server.counters().received[0], 1u);
  EXPECT_EQ(server.counters().sent[0], 1u);
}

TEST_F(BootpTest, WhatDoesNotFitIntoTheVendorFieldIsLeftOut) {
  settings.domain = std::string(60, 'd');
  settings.search = {std::string(63, 's') + ".example"};
  use(settings);
  const auto reply = ask(bootrequest(kVm).with(Option::MaxMessageSize, hex("05dc")), "vm1").value();
  EXPECT_EQ(reply.datagram.payload.size(), 300u);
  EXPECT_TRUE(reply.message.options.has(Option::Router));
  EXPECT_EQ(server.counters().options_left_out, 2u);
}

TEST_F(BootpTest, AClientOfRfc951GetsItsOwnVendorFieldBackEmpty) {
  for (const std::uint32_t cookie : {0u, 0x434d5500u}) {
    RequestFrame request = bootrequest(kVm);
    request.options.clear();
    request.header.cookie = net::Be32::from_host(cookie);
    const auto reply = ask(request, "vm1").value();
    EXPECT_EQ(reply.message.header.yiaddr, kReserved);
    EXPECT_EQ(reply.message.header.cookie.host(), cookie);
    const ByteView behind = reply.datagram.payload.subspan(sizeof(MessageHeader));
    EXPECT_EQ(behind.size(), 60u);
    EXPECT_TRUE(std::ranges::all_of(behind, [](std::byte byte) { return byte == std::byte{0}; }));
  }
}

TEST_F(BootpTest, AVendorFieldThatIsNotThereIsNotReadAndAShorterMessageIsNone) {
  RequestFrame request = bootrequest(kVm);
  request.options.clear();
  Bytes payload = request.payload();
  for (const std::size_t size : {0u, 1u, 235u, 236u, 238u, 239u}) {
    payload.resize(size);
    const Frame frame =
        framed({request.source_mac, request.destination_mac, request.source, request.destination, payload});
    EXPECT_EQ(server.answer(frame, {.port = "vm1"}, at_second(0)).has_value(), size >= 236) << size;
    payload = request.payload();
  }
  EXPECT_EQ(ignored(Ignored::NotDhcp), 3u);
}

TEST_F(BootpTest, TheBroadcastFlagCiaddrAndRelaysAreHeeded) {
  RequestFrame request = bootrequest(kVm);
  EXPECT_EQ(ask(request.broadcast_flag(), "vm1")->datagram.destination,
            (net::Endpoint{kBroadcastAddress, kClientPort}));
  request.header.ciaddr = kReserved;
  EXPECT_EQ(ask(request, "vm1")->datagram.destination, (net::Endpoint{kReserved, kClientPort}));
  request.header.ciaddr = ip("10.0.0.9");
  EXPECT_EQ(ask(request, "vm1")->datagram.destination, (net::Endpoint{kBroadcastAddress, kClientPort}));
  server.release(kReserved);
  RequestFrame relayed = bootrequest(kVm).with(Option::RelayAgent, Bytes(100, std::byte{1}));
  relayed.source_mac = mac("52:54:00:cc:00:01");
  relayed.header.giaddr = ip("192.168.122.9");
  EXPECT_FALSE(ask(relayed, "vm1"));
  EXPECT_EQ(ignored(Ignored::NoRelay), 1u);
  const auto reply = ask(relayed, "lab").value();
  EXPECT_EQ(reply.datagram.destination, (net::Endpoint{ip("192.168.122.9"), kServerPort}));
  EXPECT_EQ(reply.message.options.bytes(Option::RelayAgent).size(), 100u);
  EXPECT_TRUE(reply.message.options.has(Option::Router));
}

TEST_F(BootpTest, AClientWithoutAReservationIsIgnoredAndCounted) {
  EXPECT_FALSE(ask(bootrequest(kStranger), "vm2"));
  EXPECT_EQ(ignored(Ignored::Bootp), 1u);
  EXPECT_TRUE(server.table().records().empty());
  EXPECT_TRUE(ask(bootrequest(kStranger), "vm3")) << "but its port has one";
}

TEST_F(BootpTest, TheLeaseIsEndlessAndIsItsPorts) {
  ask(bootrequest(kVm), "vm1");
  const Lease lease = lease_of(kReserved);
  EXPECT_EQ(lease.state, LeaseState::Bound);
  EXPECT_EQ(lease.expires, kNever);
  EXPECT_EQ(lease.port, "vm1");
  EXPECT_EQ(lease.hostname, "net1");
  EXPECT_FALSE(ask(bootrequest(kVm), "vm2")) << "nor does another port get it by the MAC";
  EXPECT_EQ(ignored(Ignored::HeldElsewhere), 1u);
  EXPECT_EQ(server.expire(at_second(1'000'000'000)), 0u);
  server.release(kReserved);
  EXPECT_TRUE(ask(bootrequest(kVm), "vm2"));
}

TEST_F(BootpTest, TheLeaseIsEndlessOverARestartAsLongAsTheReservationIsThere) {
  ask(bootrequest(kVm), "vm1");
  const auto changes = server.take_changes();
  use(settings);
  server.load(changes, at_second(10));
  EXPECT_EQ(lease_of(kReserved).expires, kNever);
  settings.reservations.clear();
  use(settings);
  server.load(changes, at_second(10));
  EXPECT_EQ(lease_of(kReserved).expires, at_second(3610));
}

TEST_F(BootpTest, AnAddressThatAnotherHoldsIsNotGivenTwice) {
  settings.reservations.clear();
  use(settings);
  TestClient holder{server, "vm2", kStranger};
  ASSERT_EQ(holder.ask(holder.selecting(kReserved))->type(), MessageType::Ack);
  settings.reservations = {{.mac = kVm, .port = {}, .address = kReserved, .hostname = {}}};
  server.reconfigure(settings);
  EXPECT_FALSE(ask(bootrequest(kVm), "vm1"));
  EXPECT_EQ(ignored(Ignored::Bootp), 1u);
  holder.ask(holder.release(kReserved));
  EXPECT_TRUE(ask(bootrequest(kVm), "vm1"));
}

// A network card's ROM speaks BOOTP, or DHCP with a client-id of its own; the system that it loads another.
TEST_F(BootpTest, RomAndSystemOfOneMachineHaveOneAddressByEveryIdentity) {
  for (const Identity identity : {Identity::Mac, Identity::ClientId, Identity::Port}) {
    settings.identity = identity;
    use(settings);
    const Bytes rom_id = hex("00 11 22 33"), system_id = hex("ff 00 00 00 01");
    TestClient vm{server, "vm1", kVm};
    const auto get = [&](const Bytes& id) {
      const auto ack = vm.ask(vm.selecting(kReserved).with(Option::ClientId, id));
      return ack ? ack->type() : MessageType::Nak;
    };
    ASSERT_TRUE(ask(bootrequest(kVm), "vm1"));
    EXPECT_EQ(get(system_id), MessageType::Ack);
    EXPECT_EQ(lease_of(kReserved).expires, at_second(3600)) << "it speaks DHCP now";
    EXPECT_TRUE(ask(bootrequest(kVm), "vm1"));
    EXPECT_EQ(get(rom_id), MessageType::Ack);
    EXPECT_EQ(get(system_id), MessageType::Ack);
    TestClient thief{server, "vm2", kVm};
    EXPECT_FALSE(thief.ask(thief.selecting(kReserved)));
    vm.ask(vm.decline(kReserved).with(Option::ClientId, system_id));
    EXPECT_EQ(get(system_id), MessageType::Nak) << "declined, it rests";
    EXPECT_EQ(server.check_invariants(), "");
  }
}

}  // namespace
}  // namespace vmnat::dhcp::test
