// SPDX-License-Identifier: Apache-2.0
// Rules of a network (nat.rules): which external address a flow has by VM and destination, and flows that are not
// translated. Everything on one worker and on several.
//
//   red  1. to 10.0.0.0/8                   not translated
//        2. from .11 to 198.51.100.0/24     by 203.0.113.9
//        3. to 198.51.0.0/16                by 203.0.113.10      else: by 203.0.113.2, as blue
#include "tests/support/fixture.h"
#include "tests/support/fragment_builder.h"

namespace vmnat::test {
namespace {

using conntrack::AllowedPorts;
using conntrack::ExternalAddresses;
using dataplane::AddressPair;
using dataplane::DropReason;
using dataplane::EgressRule;
using dataplane::EgressRules;
using dataplane::ForwardingState;
using dataplane::InsideHost;
using dataplane::WordTable;
using net::IcmpType;
using net::TcpHeader;
using net::to_string;
using ::testing::IsEmpty;

constexpr const char* kPrivate = "10.20.30.40";  // a remote that flows to are not translated
constexpr std::uint8_t kGre = 47, kEsp = 50;

net::Ipv4Prefix prefix(const char* text) {
  return net::parse_ipv4_prefix(text).value();
}
net::Ipv4Addr address(const char* text) {
  return net::parse_ipv4(text).value();
}

void set_rules(ForwardingState& state) {
  auto entries = state.external_addresses->entries();
  const auto ports = std::make_shared<const AllowedPorts>(1024, 65535, std::vector<std::uint16_t>{});
  entries.push_back({address("203.0.113.9"), ports});
  entries.push_back({address("203.0.113.10"), ports});
  state.external_addresses = std::make_shared<const ExternalAddresses>(entries);
  conntrack::NatPolicies policies = *state.policies;
  policies[0].more_pools = {{1}, {2}};
  policies[0].pools_by_address = {0, 1, 2};
  state.policies = std::make_shared<const conntrack::NatPolicies>(policies);
  const net::Ipv4Prefix any{{}, 0};
  state.egress_rules = std::make_shared<const std::vector<EgressRules>>(std::vector<EgressRules>{
      {{.from = any, .to = prefix("10.0.0.0/8"), .is_translated = false},
       {.from = prefix("192.168.122.11/32"), .to = prefix("198.51.100.0/24"), .pool = 1},
       {.from = any, .to = prefix("198.51.0.0/16"), .pool = 2}}});
}

class NatRules : public OnWorkers {
 protected:
  NatRules() : OnWorkers({kVm1, kVm2, kVm4}) {
    bed.change_state([](ForwardingState& state) {
      set_rules(state);
      state.networks[0].address_owners =
          WordTable<PortIndex>({{address(kVm1Address).raw(), kVm1}, {address(kVm2Address).raw(), kVm2}});
    });
  }
};

Packet from_vm(std::uint8_t vm, const char* remote, std::uint16_t port = 40000, std::uint16_t to = 443) {
  return Packet().from(vm_mac(vm), vm == 1 ? kVm1Address : kVm2Address, port).to(kRedMac, remote, to);
}
Packet from_remote(const char* remote, const char* to, std::uint16_t port = 40000, std::uint16_t from = 443) {
  return Packet().from(kRouterMac, remote, from).to(kUplinkMac, to, port);
}

TEST_P(NatRules, TheFirstThatFitsSaysByWhichAddressAFlowLeaves) {
  const struct {
    std::uint8_t vm;
    const char* remote;
    const char* external;
  } cases[] = {{1, "198.51.100.7", "203.0.113.10"}, {2, "198.51.100.7", "203.0.113.9"},
               {2, "198.51.101.7", "203.0.113.10"}, {1, "192.0.2.7", kExternal},
               {2, "192.0.2.7", kExternal},         {1, kPrivate, kVm1Address}};
  for (const auto& one : cases)
    for (const Packet& packet :
         {from_vm(one.vm, one.remote).udp(), from_vm(one.vm, one.remote).tcp(TcpHeader::kSyn),
          from_vm(one.vm, one.remote, 0, 0).icmp_echo(IcmpType::EchoRequest, 9),
          from_vm(one.vm, one.remote, 0, 0).protocol(one.vm == 1 ? kGre : kEsp).payload(40)})
      EXPECT_EQ(to_string(ip(sent(one.vm, packet, kUplink)).source), one.external)
          << describe(packet.frame());
}

TEST_P(NatRules, AnswersComeBackFromEach) {
  for (const char* remote : {"198.51.100.7", "198.51.101.7", "192.0.2.7"}) {
    const auto external = source_of(sent(kVm2, from_vm(2, remote).udp(), kUplink));
    const std::string there = to_string(external.address);
    EXPECT_EQ(
        destination_of(sent(kUplink, from_remote(remote, there.c_str(), external.port.host()).udp(), kVm2)),
        endpoint(kVm2Address, 40000));
  }
}

TEST_P(NatRules, OtherNetworksHaveRulesOfTheirOwn) {
  const Packet packet = Packet().from(vm_mac(4), "192.168.5.10", 40000).to(kBlueMac, kServer, 443).udp();
  EXPECT_EQ(to_string(ip(sent(kVm4, packet, kUplink)).source), kExternal);
}

TEST_P(NatRules, WhatIsNotTranslatedIsRoutedBothWaysUnchanged) {
  for (const Packet& packet : {from_vm(1, kPrivate).udp(), from_vm(1, kPrivate).tcp(TcpHeader::kSyn),
                               from_vm(1, kPrivate, 0, 0).icmp_echo(IcmpType::EchoRequest, 9),
                               from_vm(1, kPrivate, 0, 0).protocol(kGre).payload(40)}) {
    const Bytes out = sent(kVm1, packet, kUplink);
    Bytes expected = Packet(packet).ttl(63).frame();
    EXPECT_EQ(Bytes(out.begin() + 14, out.end()), Bytes(expected.begin() + 14, expected.end()));
    EXPECT_EQ(ethernet(out).source, kUplinkMac);
    EXPECT_EQ(ethernet(out).destination, kRouterMac);
  }
  for (const Packet& packet : {from_remote(kPrivate, kVm1Address).udp(),
                               from_remote(kPrivate, kVm1Address).tcp(TcpHeader::kSyn | TcpHeader::kAck),
                               from_remote(kPrivate, kVm1Address, 0, 0).icmp_echo(IcmpType::EchoReply, 9),
                               from_remote(kPrivate, kVm1Address, 0, 0).protocol(kGre).payload(40)}) {
    const Bytes in = sent(kUplink, packet, kVm1);
    Bytes expected = Packet(packet).ttl(63).frame();
    EXPECT_EQ(Bytes(in.begin() + 14, in.end()), Bytes(expected.begin() + 14, expected.end()));
    EXPECT_EQ(ethernet(in).destination, vm_mac(1));
  }
}

TEST_P(NatRules, OnlyRepliesComeInToAnInsideAddress) {
  sent(kVm1, from_vm(1, kPrivate).udp(), kUplink);
  for (const Packet& packet :
       {from_remote(kPrivate, kVm1Address, 40000, 444).udp(), from_remote("10.0.0.9", kVm1Address).udp(),
        from_remote(kServer, kVm1Address).udp(), from_remote(kPrivate, kVm2Address).udp(),
        from_remote(kPrivate, kVm1Address, 22).tcp(TcpHeader::kSyn),
        from_remote(kPrivate, kVm1Address, 0, 0).icmp_echo(IcmpType::EchoRequest, 1)})
    bed.exchange(kUplink, packet.frame());
  EXPECT_EQ(bed.dropped(DropReason::NotExternal), 6u);
  EXPECT_THAT(bed.take(kVm1), IsEmpty());
  EXPECT_THAT(bed.take(kVm2), IsEmpty());
  EXPECT_THAT(bed.take(kUplink), IsEmpty());
}

TEST_P(NatRules, AReplyToAVmOfWhosePlaceNobodyKnowsFindsItsWorkerOnceControlHasAsked) {
  bed.change_state([](ForwardingState& state) { state.networks[0].address_owners = {}; });
  for (const std::uint8_t vm : {1, 2}) {
    sent(vm, from_vm(vm, kPrivate).udp(), kUplink);
    const char* own = vm == 1 ? kVm1Address : kVm2Address;
    const Bytes reply = from_remote(kPrivate, own).udp().frame();
    bed.exchange(kUplink, reply);
    auto received = bed.take(vm);
    const auto waiting = bed.take_punted();
    ASSERT_EQ(received.size() + waiting.size(), 1u);
    if (!received.empty()) continue;
    EXPECT_GT(GetParam(), 1u);
    bed.change_state([&](ForwardingState& state) {
      state.networks[0].hosts =
          WordTable<InsideHost>({{address(own).raw(), {.mac = vm_mac(vm), .port = vm}}});
    });
    bed.return_inbound(0, reply);
    bed.run();
    EXPECT_EQ(bed.take(vm).size(), 1u);
  }
}

TEST_P(NatRules, FragmentsAndErrorsOfWhatIsNotTranslatedPass) {
  for (const Bytes& fragment : cut(from_vm(1, kPrivate).udp().payload(3000).frame(), 1480))
    bed.put(kVm1, fragment);
  bed.run();
  const auto out = joined(bed.take(kUplink));
  ASSERT_TRUE(out);
  EXPECT_EQ(source_of(*out), endpoint(kVm1Address, 40000));
  EXPECT_TRUE(has_good_checksums(*out));
  for (const Bytes& fragment : cut(from_remote(kPrivate, kVm1Address).udp().payload(3000).frame(), 1480))
    bed.put(kUplink, fragment);
  bed.run();
  ASSERT_TRUE(joined(bed.take(kVm1)));
  const Bytes about = quoted(Packet(from_vm(1, kPrivate).udp()).ttl(60).frame(), 8);
  const Packet error = Packet()
                           .from(kRouterMac, "10.0.0.1")
                           .to(kUplinkMac, kVm1Address)
                           .icmp_error(IcmpType::TimeExceeded, 0, about);
  EXPECT_EQ(quote_in(sent(kUplink, error, kVm1)), about);
  const Bytes answer = quoted(from_remote(kPrivate, kVm1Address).udp().ttl(60).frame(), 8);
  const Packet refusal = Packet()
                             .from(vm_mac(1), kVm1Address)
                             .to(kRedMac, kPrivate)
                             .icmp_error(IcmpType::DestinationUnreachable, 3, answer);
  EXPECT_EQ(to_string(ip(sent(kVm1, refusal, kUplink)).source), kVm1Address);
}

TEST_P(NatRules, ARemoteThatDoesNotAnswerArpIsToldOfToTheVm) {
  bed.change_state([](ForwardingState& state) {
    auto rules = *state.egress_rules;
    rules[0].front().to = prefix("203.0.113.64/26");
    state.egress_rules = std::make_shared<const std::vector<EgressRules>>(rules);
  });
  const Bytes frame = from_vm(1, "203.0.113.77").udp().frame();
  bed.exchange(kVm1, frame);
  const Bytes waiting = only(bed.take_punted());
  bed.return_unreachable(kVm1, waiting, DropReason::NeighborUnresolved);
  bed.run();
  const Bytes error = only(bed.take(kVm1));
  EXPECT_EQ(icmp(error).type, IcmpType::DestinationUnreachable);
  EXPECT_EQ(quote_in(error), quoted(frame, 2000));
}

TEST_P(NatRules, OurOwnAddressesAreReachedByTranslationWhateverRulesSay) {
  bed.change_state([](ForwardingState& state) {
    auto rules = *state.egress_rules;
    rules[0].front().to = {{}, 0};
    state.egress_rules = std::make_shared<const std::vector<EgressRules>>(rules);
    set_forwards(state, {{net::Protocol::Tcp, 8080, endpoint(kVm1Address, 80)}});
    state.networks[0].hosts =
        WordTable<InsideHost>({{address(kVm1Address).raw(), {.mac = vm_mac(1), .port = kVm1}}});
  });
  const Bytes syn = sent(kVm2, from_vm(2, kExternal, 5000, 8080).tcp(TcpHeader::kSyn), kVm1);
  EXPECT_NE(to_string(source_of(syn).address), kVm2Address);
  EXPECT_EQ(to_string(ip(sent(kVm2, from_vm(2, kServer).udp(), kUplink)).source), kVm2Address);
}

TEST_P(NatRules, ExemptionsGoBeforeAVmsOwnAddressAndThatBeforeOtherRules) {
  bed.change_state([](ForwardingState& state) {
    auto entries = state.external_addresses->entries();
    entries.push_back({address("203.0.113.20"), std::make_shared<const AllowedPorts>()});
    state.external_addresses = std::make_shared<const ExternalAddresses>(entries);
    const AddressPair pair{address(kVm2Address), address("203.0.113.20"), 0, false};
    state.pairs_by_internal = WordTable<AddressPair>({{pair.internal.raw(), pair}});
    state.pairs_by_external = WordTable<AddressPair>({{pair.external.raw(), pair}});
  });
  EXPECT_EQ(to_string(ip(sent(kVm2, from_vm(2, kPrivate).udp(), kUplink)).source), kVm2Address);
  EXPECT_EQ(to_string(ip(sent(kVm2, from_vm(2, kServer).udp(), kUplink)).source), "203.0.113.20");
}

INSTANTIATE_TEST_SUITE_P(Workers, NatRules, ::testing::Values(1u, 2u, 3u));

}  // namespace
}  // namespace vmnat::test
