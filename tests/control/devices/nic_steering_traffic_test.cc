// SPDX-License-Identifier: Apache-2.0
// Workers behind a NIC that does RSS in software: with the plan no reply crosses between workers.
#include <random>
#include <rte_thash.h>

#include "control/plan/steering_plan.h"
#include "tests/support/fixture.h"

namespace vmnat::test {
namespace {

using conntrack::ExternalPorts;

// Frames from outside go to the receive queue that a NIC with this key and table would choose.
struct SoftwareNic {
  std::vector<std::uint8_t> key;
  std::vector<std::uint16_t> table;

  [[nodiscard]] unsigned queue_of(const Bytes& frame) const {
    const net::Endpoint from = source_of(frame), to = destination_of(frame);
    std::uint32_t tuple[] = {from.address.host(), to.address.host(),
                             static_cast<std::uint32_t>(from.port.host()) << 16 | to.port.host()};
    return table[rte_softrss(tuple, 3, key.data()) & (table.size() - 1)];
  }
};

// A key such as drivers choose it, and entries that go round the queues.
SoftwareNic ordinary_nic(unsigned queues) {
  std::mt19937 random(6);
  SoftwareNic nic{.key = std::vector<std::uint8_t>(40), .table = std::vector<std::uint16_t>(128)};
  for (auto& byte : nic.key) byte = static_cast<std::uint8_t>(random());
  for (std::size_t entry = 0; entry < nic.table.size(); ++entry)
    nic.table[entry] = static_cast<std::uint16_t>(entry % queues);
  return nic;
}

// Two VMs talk, by UDP and TCP, from many ports to many remotes, each twice. How many frames crossed.
std::uint64_t frames_crossed(Testbed& bed, const SoftwareNic& nic) {
  for (const PortIndex vm : {kVm1, kVm2, kVm3}) bed.learn(vm, vm_mac(static_cast<std::uint8_t>(vm)));
  std::mt19937 random(2);
  unsigned replies = 0;
  for (unsigned i = 0; i < 1000; ++i) {
    const auto vm = static_cast<std::uint8_t>(kVm1 + i % 3);
    const auto port = static_cast<std::uint16_t>(1024 + random() % 64000);
    const std::string address = "192.168.122." + std::to_string(10 + vm);
    const std::string remote = "198.51.100." + std::to_string(1 + random() % 250);
    Packet packet = Packet().from(vm_mac(vm), address, port).to(kRedMac, remote, 80);
    i % 2 == 0 ? packet.udp() : packet.tcp(net::TcpHeader::kSyn);
    bed.exchange(vm, packet.frame());
    const auto external = source_of(only(bed.take(kUplink))).port.host();
    Packet reply = Packet().from(kRouterMac, remote, 80).to(kUplinkMac, kExternal, external);
    i % 2 == 0 ? reply.udp() : reply.tcp(net::TcpHeader::kSyn | net::TcpHeader::kAck);
    bed.put(kUplink, reply.frame(), nic.queue_of(reply.frame()));
    bed.run();
    replies += destination_of(only(bed.take(vm))) == endpoint(address.c_str(), port);
  }
  EXPECT_EQ(replies, 1000u);
  EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts());
  return bed.counts()["handoff"];
}

class SteeredTraffic : public ::testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(Workers, SteeredTraffic, ::testing::Values(2u, 3u, 4u));

TEST_P(SteeredTraffic, NoReplyCrossesWhenTheNicKnowsThePlan) {
  const unsigned workers = GetParam();
  for (const unsigned table_size : {64u, 128u, 512u}) {
    const auto plan = control::plan_rss(40, table_size, workers);
    Testbed bed({.workers = workers,
                 .uplink_queues = workers,
                 .homes = control::plan_homes(plan->queues, {.name = "uplink"}, workers)});
    EXPECT_EQ(frames_crossed(bed, {plan->key, plan->table}), 0u) << "a table of " << table_size;
  }
}

TEST_P(SteeredTraffic, MostRepliesCrossBehindAnOrdinaryNic) {
  const unsigned workers = GetParam();
  Testbed bed({.workers = workers, .uplink_queues = workers});
  const std::uint64_t crossed = frames_crossed(bed, ordinary_nic(workers));
  const unsigned expected = 1000 - 1000 / workers;
  EXPECT_NEAR(crossed, expected, 100);
  RecordProperty("replies_crossed_of_1000", static_cast<int>(crossed));
}

TEST(SteeredPing, ItsAnswerFindsItsSessionFromTheOneQueueThatAllComeBy) {
  const auto plan = control::plan_rss(40, 128, 2);
  Testbed bed(
      {.workers = 2, .uplink_queues = 2, .homes = control::plan_homes(plan->queues, {.name = "uplink"}, 2)});
  bed.learn(kVm1, vm_mac(1));
  bed.exchange(kVm1, Packet()
                         .from(vm_mac(1), kVm1Address)
                         .to(kRedMac, kServer)
                         .icmp_echo(net::IcmpType::EchoRequest, 77)
                         .frame());
  const auto identifier = source_of(only(bed.take(kUplink))).port.host();
  bed.put(kUplink, Packet()
                       .from(kRouterMac, kServer)
                       .to(kUplinkMac, kExternal)
                       .icmp_echo(net::IcmpType::EchoReply, identifier)
                       .frame());
  bed.run();
  EXPECT_EQ(bed.take(kVm1).size(), 1u);
  EXPECT_EQ(bed.counts()["handoff"], 1u) << "vm1 is the second worker's";
  EXPECT_TRUE(bed.is_balanced());
}

}  // namespace
}  // namespace vmnat::test
