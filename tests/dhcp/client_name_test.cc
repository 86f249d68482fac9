// SPDX-License-Identifier: Apache-2.0
// What clients are called: the name in options 81 and 12, which lease has it, what the client is told of it.
#include "dhcp/client_name.h"

#include <gtest/gtest.h>

#include "dhcp/exports.h"
#include "dhcp/journal.h"
#include "tests/dhcp/test_client.h"

namespace vmnat::dhcp::test {
namespace {

struct NamesTest : testing::Test {
  void TearDown() override { EXPECT_EQ(server.check_invariants(), ""); }
  static Bytes fqdn(std::string_view flags, std::string_view name) {
    Bytes value = hex(std::string{flags} + " 00 00");
    const ByteView bytes = bytes_of(name);
    value.insert(value.end(), bytes.begin(), bytes.end());
    return value;
  }
  static std::string name_in(const RequestFrame& request) {
    return client_name(parse_message(request.payload()).value().options);
  }
  std::string name_of(net::Ipv4Addr address) const {
    const LeaseTable::Record* record = server.table().at(address);
    return record == nullptr ? "no lease" : record->lease.hostname;
  }
  net::Ipv4Addr acquire(TestClient& client, std::string_view name) const {
    const auto offer = client.ask(client.discover().with(Option::HostName, name));
    client.ask(client.selecting(offer->yiaddr()).with(Option::HostName, name));
    return offer->yiaddr();
  }

  NetworkSettings settings = default_network();
  Server server{default_network(), 1};
  TestClient vm{server, "vm1", mac("52:54:00:aa:00:01")};
  TestClient other{server, "vm2", mac("52:54:00:aa:00:02")};
};

TEST_F(NamesTest, ANameIsTakenFromOption81InEitherEncoding) {
  struct Case {
    const char* says;
    Bytes option;
    const char* name;
  };
  const Case cases[] = {
      {"text", fqdn("00", "vm1.lab"), "vm1.lab"},
      {"text, the server is to update", fqdn("01", "vm1"), "vm1"},
      {"text with a NUL and a dot", fqdn("00", std::string_view{"vm1.lab.\0", 9}), "vm1.lab"},
      {"labels", hex("04 00 00 03 766d31 03 6c6162 00"), "vm1.lab"},
      {"labels without the root's", hex("05 00 00 03 766d31 03 6c6162"), "vm1.lab"},
      {"one label", hex("04 00 00 03 766d31"), "vm1"},
      {"labels, and bytes behind the root's", hex("04 00 00 03 766d31 00 03 6c6162 00"), "vm1"},
      {"RCODEs that mean nothing", hex("04 ff ff 03 766d31 00"), "vm1"},
  };
  for (const Case& c : cases)
    EXPECT_EQ(name_in(vm.discover().with(Option::ClientFqdn, c.option)), c.name) << c.says;
}

TEST_F(NamesTest, WhatIsMalformedInOption81CountsAsAbsentAndOption12StandsInForIt) {
  const std::string label64(64, 'a');
  const Bytes cases[] = {
      hex(""),
      hex("04"),
      hex("04 00"),
      hex("04 00 00"),                              // no name
      hex("04 00 00 00"),                           // the root
      hex("04 00 00 04 766d31"),                    // a label that ends behind the option
      hex("04 00 00 ff"),                           // likewise
      hex("04 00 00 c0 0c"),                        // a compression pointer
      hex("04 00 00 03 766d31 c0 0c"),              // likewise, behind a label
      hex("04 00 00 40 " + std::string(128, '6')),  // 64 bytes
      hex("04 00 00 03 612e62 00"),                 // a dot within a label
      hex("04 00 00 03 612062 00"),                 // a blank
      hex("04 00 00 01 2d 00"),                     // "-"
      fqdn("00", "vm1..lab"),
      fqdn("00", ".lab"),
      fqdn("00", "."),
      fqdn("00", label64 + ".lab"),
      fqdn("00", "line\nbreak"),
  };
  for (const Bytes& option : cases) {
    EXPECT_EQ(name_in(vm.discover().with(Option::ClientFqdn, option)), "") << option.size();
    EXPECT_EQ(name_in(vm.discover().with(Option::ClientFqdn, option).with(Option::HostName, "web1")), "web1");
  }
  Bytes long_name = hex("04 00 00");
  for (int i = 0; i < 64; ++i)
    long_name.insert(long_name.end(), {std::byte{3}, std::byte{'a'}, std::byte{'b'}, std::byte{'c'}});
  EXPECT_EQ(name_in(vm.discover().with(Option::ClientFqdn, long_name)), "") << "255 characters";
}

TEST_F(NamesTest, Option81GoesBeforeOption12) {
  for (const bool is_first : {true, false}) {
    RequestFrame request = vm.discover();
    if (is_first) request.with(Option::ClientFqdn, fqdn("00", "vm1.lab"));
    request.with(Option::HostName, "vm1");
    if (!is_first) request.with(Option::ClientFqdn, fqdn("00", "vm1.lab"));
    EXPECT_EQ(name_in(request), "vm1.lab");
  }
}

TEST_F(NamesTest, Option12IsANameOrNothing) {
  const auto name_by = [&](std::string_view text) {
    return name_in(vm.discover().with(Option::HostName, text));
  };
  for (const char* name : {"web-1.lab", "my_vm", "a_b.c_d", "DESKTOP-X1", "9lives", "a"})
    EXPECT_EQ(name_by(name), name);
  EXPECT_EQ(name_by(std::string_view{"debian\0", 7}), "debian");
  EXPECT_EQ(name_by(std::string_view{"debian\0\0\0", 9}), "debian");
  EXPECT_EQ(name_by("vm1."), "vm1");
  EXPECT_EQ(name_by(std::string(63, 'a')), std::string(63, 'a'));
  const std::string longest =
      std::string(63, 'a') + '.' + std::string(63, 'b') + '.' + std::string(63, 'c') + '.';
  EXPECT_EQ(name_by(longest + std::string(61, 'd')).size(), 253u);
  for (const std::string& none :
       {std::string(1, '\0'), std::string("."), std::string(64, 'a'), longest + std::string(62, 'd'),
        std::string("_vm"), std::string("-vm"), std::string(" vm"), std::string("vm "), std::string("vm1.."),
        std::string("x\"},{\"y"), std::string("line\nbreak"), std::string("m\xc3\xbcller"), std::string("*"),
        std::string("../etc")})
    EXPECT_EQ(name_by(none), "") << none;
}

TEST_F(NamesTest, LeaseAndExportsShowIt) {
  for (const auto& [option, name] :
       {std::pair{fqdn("00", "vm1.lab"), "vm1.lab"}, std::pair{hex("05 00 00 05 6d795f766d 00"), "my_vm"}}) {
    const auto address = vm.ask(vm.discover())->yiaddr();
    vm.ask(vm.selecting(address).with(Option::ClientFqdn, option));
    EXPECT_EQ(name_of(address), name);
    EXPECT_NE(dnsmasq_lease_lines(server.leases()).find(' ' + std::string{name} + ' '), std::string::npos);
    EXPECT_NE(libvirt_status(server.leases()).find("\"hostname\": \"" + std::string{name} + '"'),
              std::string::npos);
  }
}

TEST_F(NamesTest, AMessageWithoutANameLeavesTheLeaseItsNameAndAnotherNameChangesIt) {
  const auto address = acquire(vm, "web1");
  for (const RequestFrame& silent :
       {vm.renewing(address), vm.rebinding(address), vm.init_reboot(address),
        vm.renewing(address).with(Option::HostName, "no name"), vm.discover(), vm.selecting(address)}) {
    ASSERT_TRUE(vm.ask(silent));
    EXPECT_EQ(name_of(address), "web1");
  }
  vm.ask(vm.renewing(address).with(Option::HostName, "web2"));
  EXPECT_EQ(name_of(address), "web2");
  vm.ask(vm.renewing(address).with(Option::ClientFqdn, fqdn("00", "web3.lab")));
  EXPECT_EQ(name_of(address), "web3.lab");
}

TEST_F(NamesTest, ANameSaidInTheDiscoverAloneIsTheLeases) {
  const auto address = vm.ask(vm.discover().with(Option::HostName, "web1"))->yiaddr();
  vm.ask(vm.selecting(address));
  EXPECT_EQ(name_of(address), "web1");
}

TEST_F(NamesTest, ANameIsKeptOverARestart) {
  const auto address = acquire(vm, "my_vm.lab");
  const auto changes = server.take_changes();
  server = Server{settings, 1};
  server.load(changes, at_second(10));
  vm.ask(vm.renewing(address));
  EXPECT_EQ(name_of(address), "my_vm.lab");
}

TEST_F(NamesTest, OnceALeaseIsOverItsClientHasNoNameUntilItSaysOne) {
  const auto address = acquire(vm, "web1");
  vm.ask(vm.release(address));
  EXPECT_EQ(vm.acquire(), address);
  EXPECT_EQ(name_of(address), "");
}

TEST_F(NamesTest, ByIdentityPortAnotherMachineInheritsNoName) {
  settings.identity = Identity::Port;
  server = Server{settings, 1};
  const auto address = acquire(vm, "web1");
  TestClient next{server, "vm1", mac("52:54:00:aa:00:09")};
  EXPECT_EQ(next.acquire(), address);
  EXPECT_EQ(name_of(address), "");
}

TEST_F(NamesTest, OfTwoClientsOfOneNameTheLastWhoSaysItHasIt) {
  const auto old = acquire(vm, "web1");
  server.take_changes();
  const auto fresh = acquire(other, "WEB1");
  EXPECT_EQ(name_of(fresh), "WEB1");
  EXPECT_EQ(name_of(old), "");
  EXPECT_EQ(server.table().at(old)->lease.state, LeaseState::Bound) << "its lease goes on";
  const auto changes = server.take_changes();
  const bool is_told = std::ranges::any_of(
      changes, [&](const Lease& lease) { return lease.address == old && lease.hostname.empty(); });
  EXPECT_TRUE(is_told) << "the journal hears of it";
  vm.ask(vm.renewing(old));
  EXPECT_EQ(name_of(fresh), "WEB1");
  vm.ask(vm.renewing(old).with(Option::HostName, "web1"));
  EXPECT_EQ(name_of(old), "web1");
  EXPECT_EQ(name_of(fresh), "");
}

TEST_F(NamesTest, ANameThatIsReservedIsItsClientsAlone) {
  settings.reservations = {
      {.mac = mac("52:54:00:aa:00:01"), .port = {}, .address = ip("192.168.122.10"), .hostname = "db"}};
  const auto early = acquire(other, "db");
  server.reconfigure(settings);
  vm.acquire();
  EXPECT_EQ(name_of(ip("192.168.122.10")), "db");
  EXPECT_EQ(name_of(early), "");
  other.ask(other.renewing(early).with(Option::HostName, "DB"));
  EXPECT_EQ(name_of(early), "");
  vm.ask(vm.renewing(ip("192.168.122.10")).with(Option::HostName, "mine"));
  EXPECT_EQ(name_of(ip("192.168.122.10")), "db") << "whatever it says itself";
}

TEST_F(NamesTest, OfLoadedLeasesOfOneNameTheLongestHasIt) {
  std::vector<Lease> leases;
  for (unsigned i = 1; i <= 3; ++i)
    leases.push_back({.address = net::Ipv4Addr::from_host(ip("192.168.122.10").host() + i),
                      .mac = mac_number(i),
                      .hostname = "web1",
                      .expires = at_second(i == 2 ? 3000 : 1000),
                      .state = LeaseState::Bound});
  EXPECT_EQ(server.load(leases, at_second(0)), 3u);
  EXPECT_EQ(name_of(ip("192.168.122.11")), "");
  EXPECT_EQ(name_of(ip("192.168.122.12")), "web1");
  server.reconfigure(settings);
  EXPECT_EQ(name_of(ip("192.168.122.12")), "web1");
}

struct FqdnReply : NamesTest {
  std::string said_back(const RequestFrame& request) {
    const auto reply = vm.ask(request).value();
    std::string text;
    for (const std::byte byte : reply.options().bytes(Option::ClientFqdn)) {
      static constexpr char kDigits[] = "0123456789abcdef";
      text += {kDigits[static_cast<unsigned>(byte) >> 4], kDigits[static_cast<unsigned>(byte) & 15]};
    }
    return text;
  }
};

TEST_F(FqdnReply, SaysThatTheServerUpdatesNoNamesToWhoSentTheOptionAndToNobodyElse) {
  const auto with_flags = [&](std::string_view flags) {
    return said_back(vm.discover().with(Option::ClientFqdn, hex(std::string{flags} + " 00 00 03 766d31")));
  };
  EXPECT_EQ(with_flags("04"), "0cffff03766d31");
  EXPECT_EQ(with_flags("05"), "0effff03766d31") << "S is overridden";
  EXPECT_EQ(with_flags("0c"), "0cffff03766d31");
  EXPECT_EQ(said_back(vm.discover().with(Option::ClientFqdn, fqdn("00", "vm1"))), "08ffff766d31");
  EXPECT_EQ(said_back(vm.discover().asking_for({1}).with(Option::ClientFqdn, fqdn("01", "vm1"))),
            "0affff766d31");
  EXPECT_EQ(said_back(vm.discover().asking_for({81})), "");
  const auto address = vm.acquire().value();
  EXPECT_EQ(said_back(vm.renewing(address).with(Option::ClientFqdn, fqdn("00", "vm1"))), "08ffff766d31");
  EXPECT_EQ(said_back(vm.inform(address).with(Option::ClientFqdn, fqdn("00", "vm1"))), "")
      << "RFC 4702 section 4";
  EXPECT_EQ(said_back(vm.init_reboot(ip("10.0.0.1")).with(Option::ClientFqdn, fqdn("00", "vm1"))), "")
      << "a NAK";
}

TEST_F(FqdnReply, RepeatsNothingThatIsNoName) {
  EXPECT_EQ(said_back(vm.discover().with(Option::ClientFqdn, hex("04 00 00 c0 0c"))), "0cffff");
  EXPECT_EQ(said_back(vm.discover().with(Option::ClientFqdn, hex("00 00 00"))), "08ffff");
}

TEST_F(FqdnReply, HoldsTheReservedNameQualifiedInTheClientsEncoding) {
  settings.reservations = {
      {.mac = mac("52:54:00:aa:00:01"), .port = {}, .address = ip("192.168.122.10"), .hostname = "db"}};
  settings.domain = "b.c";
  server = Server{settings, 1};
  EXPECT_EQ(said_back(vm.discover().with(Option::ClientFqdn, hex("04 00 00"))),
            "0cffff02646201620163"
            "00");
  EXPECT_EQ(said_back(vm.discover().with(Option::ClientFqdn, hex("00 00 00"))), "08ffff64622e622e63");
  settings.domain.clear();
  server = Server{settings, 1};
  EXPECT_EQ(said_back(vm.discover().with(Option::ClientFqdn, hex("04 00 00"))), "0cffff026462");
}

}  // namespace
}  // namespace vmnat::dhcp::test
