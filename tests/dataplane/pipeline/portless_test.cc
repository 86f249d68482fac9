// SPDX-License-Identifier: Apache-2.0
// Protocols without ports that the NAT knows: GRE, ESP, SCTP and any other number go by their addresses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/fixture.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using net::to_string;
using ::testing::IsEmpty;

constexpr std::uint8_t kGre = 47, kEsp = 50, kSctp = 132, kUnassigned = 200;
constexpr const char* kAddresses[] = {"", "192.168.122.10", "192.168.122.11", "192.168.122.12"};

Packet from_vm(std::uint8_t vm, std::uint8_t protocol, const std::string& remote = kServer) {
  return Packet().from(vm_mac(vm), kAddresses[vm]).to(kRedMac, remote).protocol(protocol).payload(40);
}
Packet from_remote(std::uint8_t protocol, const std::string& remote = kServer) {
  return Packet().from(kRouterMac, remote).to(kUplinkMac, kExternal).protocol(protocol).payload(40);
}
Bytes payload(const Bytes& frame) {
  return {frame.begin() + 34, frame.end()};
}

class Portless : public ::testing::TestWithParam<std::uint8_t> {
 protected:
  Portless() {
    for (const std::uint8_t vm : {1, 2}) bed.learn(vm, vm_mac(vm));
  }
  void TearDown() override { EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts()); }
  Testbed bed;
};

TEST_P(Portless, GoesOutAndComesBackWithItsPayloadAsItIs) {
  const Bytes frame = from_vm(1, GetParam()).frame();  // SCTP's CRC32c does not cover addresses
  bed.exchange(kVm1, frame);
  const Bytes sent = only(bed.take(kUplink));
  EXPECT_EQ(to_string(ip(sent).source), kExternal);
  EXPECT_TRUE(has_good_checksums(sent));
  EXPECT_EQ(payload(sent), payload(frame));
  const Bytes answer = from_remote(GetParam()).frame();
  bed.exchange(kUplink, answer);
  const Bytes received = only(bed.take(kVm1));
  EXPECT_EQ(to_string(ip(received).destination), kAddresses[1]);
  EXPECT_TRUE(has_good_checksums(received));
  EXPECT_EQ(payload(received), payload(answer));
}

TEST_P(Portless, ASecondVmIsRefusedTheSameRemoteAndGetsAnother) {
  bed.exchange(kVm1, from_vm(1, GetParam()).frame());
  bed.take(kUplink);
  const Bytes refused = from_vm(2, GetParam()).frame();
  bed.exchange(kVm2, refused);
  EXPECT_THAT(bed.take(kUplink), IsEmpty());
  const Bytes error = only(bed.take(kVm2));
  const auto& icmp = *net::view<net::IcmpHeader>(error, 34);
  EXPECT_EQ(icmp.type, net::IcmpType::DestinationUnreachable);
  EXPECT_EQ(icmp.code, 13) << "RFC 5508 REQ-8";
  EXPECT_EQ(quote_in(error), quoted(refused, 2000));
  bed.exchange(kVm2, from_vm(2, GetParam(), "198.51.100.8").frame());
  EXPECT_EQ(bed.take(kUplink).size(), 1u);
  bed.exchange(kUplink, from_remote(GetParam()).frame());
  EXPECT_EQ(bed.take(kVm1).size(), 1u) << "the holder keeps it";
  EXPECT_EQ(bed.dropped(DropReason::NoPort), 1u);
}

TEST_P(Portless, WhoHoldsARemoteHoldsItInItsProtocolAlone) {
  bed.exchange(kVm1, from_vm(1, GetParam()).frame());
  const auto other = static_cast<std::uint8_t>(GetParam() + 1);
  bed.exchange(kVm2, from_vm(2, other).frame());
  EXPECT_EQ(bed.take(kUplink).size(), 2u);
  bed.exchange(kUplink, from_remote(other).frame());
  EXPECT_EQ(bed.take(kVm2).size(), 1u);
  EXPECT_THAT(bed.take(kVm1), IsEmpty());
}

TEST_P(Portless, NothingComesInUnasked) {
  bed.exchange(kUplink, from_remote(GetParam()).frame());
  bed.exchange(kVm1, from_vm(1, GetParam()).frame());
  bed.take(kUplink);
  bed.exchange(kUplink, from_remote(GetParam(), "198.51.100.8").frame());
  EXPECT_EQ(bed.counts(),
            (Counts{{"uplink.rx", 2}, {"uplink.tx", 1}, {"vm1.rx", 1}, {"drop.no_session", 2}}));
}

TEST_P(Portless, ItIsFreeForTheNextAfterItsTimeout) {
  bed.exchange(kVm1, from_vm(1, GetParam()).frame());
  bed.advance(std::chrono::seconds(595));
  bed.exchange(kVm2, from_vm(2, GetParam()).frame());
  EXPECT_EQ(bed.dropped(DropReason::NoPort), 1u);
  bed.advance(std::chrono::seconds(10));
  bed.take(kUplink);
  bed.exchange(kVm2, from_vm(2, GetParam()).frame());
  EXPECT_EQ(bed.take(kUplink).size(), 1u);
}

TEST_P(Portless, AnErrorAboutItReachesItsHolder) {
  bed.exchange(kVm1, from_vm(1, GetParam()).frame());
  const Bytes sent = only(bed.take(kUplink));
  bed.exchange(kUplink, Packet()
                            .from(kRouterMac, "203.0.113.1")
                            .to(kUplinkMac, kExternal)
                            .icmp_error(net::IcmpType::DestinationUnreachable, 2, quoted(sent, 8))
                            .frame());
  const Bytes error = only(bed.take(kVm1));
  EXPECT_EQ(to_string(net::view<net::Ipv4Header>(quote_in(error))->source), kAddresses[1]);
  EXPECT_TRUE(has_good_checksums(error));
}

INSTANTIATE_TEST_SUITE_P(Protocols, Portless, ::testing::Values(kGre, kEsp, kSctp, kUnassigned));

class PortlessWithPseudoHeader : public Portless {};

TEST_P(PortlessWithPseudoHeader, ItsChecksumIsMendedBothWays) {
  const auto sum_of = [](const Bytes& frame) {
    return net::folded(
        net::added_sum(std::span(frame).subspan(34),
                       net::pseudo_header_sum(ip(frame).source, ip(frame).destination, GetParam(),
                                              static_cast<std::uint16_t>(frame.size() - 34))));
  };
  const auto summed = [&](Bytes& frame) {
    auto& checksum = *net::mutable_view<net::Be16>(frame, 40);
    checksum = {};
    checksum = net::Be16::from_raw(static_cast<std::uint16_t>(~sum_of(frame)));
  };
  bed.exchange(kVm1, from_vm(1, GetParam()).frame(summed));
  EXPECT_EQ(sum_of(only(bed.take(kUplink))), 0xffff);
  bed.exchange(kUplink, from_remote(GetParam()).frame(summed));
  EXPECT_EQ(sum_of(only(bed.take(kVm1))), 0xffff);
}

TEST_P(PortlessWithPseudoHeader, NothingIsMendedThatIsNotThere) {
  const Bytes cut = from_vm(1, GetParam()).payload(7).frame();
  bed.exchange(kVm1, cut);
  EXPECT_EQ(payload(only(bed.take(kUplink))), payload(cut));
}

INSTANTIATE_TEST_SUITE_P(Protocols, PortlessWithPseudoHeader, ::testing::Values(33, 136));

TEST(PortlessOnSeveralWorkers, BothWaysMeetOnOneOfThem) {
  Testbed bed(3);
  for (const std::uint8_t vm : {1, 2, 3}) bed.learn(vm, vm_mac(vm));
  for (unsigned i = 0; i < 60; ++i) {
    const auto vm = static_cast<std::uint8_t>(1 + i % 3);
    const std::string remote = "198.51.100." + std::to_string(10 + i);
    bed.exchange(vm, from_vm(vm, kEsp, remote).frame());
    EXPECT_EQ(bed.take(kUplink).size(), 1u) << remote;
    bed.exchange(kUplink, from_remote(kEsp, remote).frame());
    EXPECT_EQ(bed.take(vm).size(), 1u) << remote;
    const auto other = static_cast<std::uint8_t>(1 + (i + 1) % 3);
    bed.exchange(other, from_vm(other, kEsp, remote).frame());
    EXPECT_THAT(bed.take(kUplink), IsEmpty()) << "one holder, on whatever worker it is";
    bed.take(other);
  }
  EXPECT_EQ(bed.dropped(DropReason::NoPort), 60u);
  unsigned busy = 0;
  for (unsigned i = 0; i < 3; ++i) busy += bed.worker(i).conntrack().statistics().active > 5 ? 1 : 0;
  EXPECT_EQ(busy, 3u) << "remotes spread over the workers";
  EXPECT_TRUE(bed.is_balanced());
}

}  // namespace
}  // namespace vmnat::test
