// SPDX-License-Identifier: Apache-2.0
// Forwards that are for some remotes, or lead to several VMs; on one worker and on several.
//
//   203.0.113.2:8080 tcp  -> vm1 or vm2, port 80         5353 udp  -> vm1:53 for 198.51.100.0/24 alone
#include <map>

#include "tests/support/fixture.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using dataplane::ForwardingState;
using dataplane::ForwardRules;
using dataplane::InsideHost;
using dataplane::WordTable;
using net::TcpHeader;

class SharedForwards : public OnWorkers {
 protected:
  SharedForwards() : OnWorkers({kVm1, kVm2}) {
    bed.change_state([](ForwardingState& state) {
      const net::Endpoint web = endpoint(kExternal, 8080), dns = endpoint(kExternal, 5353);
      const auto word = [](net::Endpoint at, net::Protocol protocol) {
        return ForwardingState::forward_word(at, protocol);
      };
      const net::Endpoint first = endpoint(kVm1Address, 80), second = endpoint(kVm2Address, 80);
      state.forward_rules = WordTable<ForwardRules>(
          {{word(web, net::Protocol::Tcp), {.rules = {{{{}, 0}, {first, second}}}}},
           {word(dns, net::Protocol::Udp),
            {.rules = {{net::parse_ipv4_prefix("198.51.100.0/24").value(), {endpoint(kVm1Address, 53)}}}}}});
      state.shared_mappings =
          WordTable<net::Endpoint>({{word(first, net::Protocol::Tcp), web},
                                    {word(second, net::Protocol::Tcp), web},
                                    {word(endpoint(kVm1Address, 53), net::Protocol::Udp), dns}});
      state.networks[0].hosts =
          WordTable<InsideHost>({{first.address.raw(), {.mac = vm_mac(1), .port = kVm1}},
                                 {second.address.raw(), {.mac = vm_mac(2), .port = kVm2}}});
    });
  }
  // The VM that got the frame from outside; 0: none.
  PortIndex receiver_of(const Packet& packet) {
    bed.exchange(kUplink, packet.frame());
    const bool first = !bed.take(kVm1).empty(), second = !bed.take(kVm2).empty();
    EXPECT_FALSE(first && second);
    return first ? kVm1 : second ? kVm2 : PortIndex{0};
  }
};

Packet from_remote(const std::string& remote, std::uint16_t port, std::uint16_t to) {
  return Packet().from(kRouterMac, remote, port).to(kUplinkMac, kExternal, to);
}
Packet from_vm(PortIndex vm, std::uint16_t port, const std::string& remote, std::uint16_t to) {
  return Packet()
      .from(vm_mac(static_cast<std::uint8_t>(vm)), vm == kVm1 ? kVm1Address : kVm2Address, port)
      .to(kRedMac, remote, to);
}

TEST_P(SharedForwards, ARemoteStaysWithItsVmAndBothAreUsed) {
  std::map<PortIndex, unsigned> served;
  for (unsigned last = 1; last < 60; ++last) {
    const std::string remote = "198.51.7." + std::to_string(last);
    const PortIndex vm = receiver_of(from_remote(remote, 4000, 8080).tcp(TcpHeader::kSyn));
    ASSERT_NE(vm, 0);
    ++served[vm];
    EXPECT_EQ(receiver_of(from_remote(remote, 4001, 8080).tcp(TcpHeader::kSyn)), vm);
    EXPECT_EQ(receiver_of(from_remote(remote, 4000, 8080).tcp(TcpHeader::kAck)), vm);
    bed.exchange(vm, from_vm(vm, 80, remote, 4000).tcp(TcpHeader::kSyn | TcpHeader::kAck).frame());
    EXPECT_EQ(source_of(only(bed.take(kUplink))), endpoint(kExternal, 8080));
  }
  EXPECT_GT(served[kVm1], 15u);
  EXPECT_GT(served[kVm2], 15u);
}

TEST_P(SharedForwards, WhatAVmOpensLeavesByTheForwardTowardsItsRemotesAlone) {
  unsigned by_forward = 0;
  for (unsigned last = 1; last < 40; ++last) {
    const std::string remote = "198.51.8." + std::to_string(last);
    for (const PortIndex vm : {kVm1, kVm2}) {
      bed.exchange(vm, from_vm(vm, 80, remote, 5000).tcp(TcpHeader::kSyn).frame());
      const auto external = source_of(only(bed.take(kUplink)));
      const bool is_by_forward = external == endpoint(kExternal, 8080);
      by_forward += is_by_forward;
      const Packet answer =
          from_remote(remote, 5000, external.port.host()).tcp(TcpHeader::kSyn | TcpHeader::kAck);
      EXPECT_EQ(receiver_of(answer), vm);
    }
  }
  EXPECT_EQ(by_forward, 39u) << "one of the two, for each remote";
}

TEST_P(SharedForwards, AForwardForSomeRemotesIsNoneForOthers) {
  EXPECT_EQ(receiver_of(from_remote("198.51.100.9", 4000, 5353).udp()), kVm1);
  EXPECT_EQ(receiver_of(from_remote("198.51.101.9", 4000, 5353).udp()), 0);
  EXPECT_EQ(bed.dropped(DropReason::NoSession), 1u);
  bed.take(kUplink);
  for (const auto& [remote, is_by_forward] : {std::pair{"198.51.100.10", true}, {"198.51.101.10", false}}) {
    bed.exchange(kVm1, from_vm(kVm1, 53, remote, 4000).udp().frame());
    EXPECT_EQ(source_of(only(bed.take(kUplink))) == endpoint(kExternal, 5353), is_by_forward) << remote;
  }
}

INSTANTIATE_TEST_SUITE_P(Workers, SharedForwards, ::testing::Values(1u, 2u, 3u));

}  // namespace
}  // namespace vmnat::test
