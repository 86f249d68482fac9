// SPDX-License-Identifier: Apache-2.0
// Ports with several queues, which bring the flows of one VM to several workers.
#include <algorithm>
#include <set>
#include <vector>

#include "tests/support/fixture.h"
#include "tests/support/fragment_builder.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using dataplane::ForwardingState;
using dataplane::InsideHost;
using dataplane::WordTable;
using net::to_string;
using ::testing::SizeIs;

Packet outbound(std::uint16_t port, const char* remote = kServer) {
  return Packet().from(vm_mac(1), kVm1Address, port).to(kRedMac, remote, 80).udp();
}
Packet answer_to(const Bytes& sent, const char* remote = kServer) {
  return Packet().from(kRouterMac, remote, 80).to(kUplinkMac, kExternal, source_of(sent).port.host()).udp();
}

// Three workers; the frames of vm1 and of the uplink come by any of them.
class Spread : public ::testing::Test {
 protected:
  void SetUp() override {
    bed.learn(kVm1, vm_mac(1));
    bed.change_state([](ForwardingState& state) {
      state.ports[kVm1].is_spread = true;
      state.ports[kUplink].is_spread = true;
    });
  }
  void TearDown() override { EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts()); }
  std::vector<std::uint64_t> sessions() {
    std::vector<std::uint64_t> counts;
    for (unsigned i = 0; i < 3; ++i) counts.push_back(bed.worker(i).conntrack().statistics().active);
    return counts;
  }
  Testbed bed{3};
};

TEST_F(Spread, TheFlowsOfOneVmAreSpreadOverTheWorkersAndTheirAnswersComeBack) {
  for (std::uint16_t port = 2000; port < 2300; ++port) {
    bed.exchange(kVm1, outbound(port).frame());
    const Bytes sent = only(bed.take(kUplink));
    bed.exchange(kUplink, answer_to(sent).frame());
    EXPECT_EQ(destination_of(only(bed.take(kVm1))), endpoint(kVm1Address, port));
  }
  for (const std::uint64_t count : sessions()) EXPECT_GT(count, 60u);
}

// RFC 6864 section 5.3: whoever has collected the fragments, they leave with one number, which is not the
// VM's.
TEST_F(Spread, FragmentsThatCrossToTheirSessionsWorkerLeaveWithANumberOfOurs) {
  std::set<std::uint16_t> numbers;
  constexpr unsigned kDatagrams = 60;
  for (unsigned i = 0; i < kDatagrams; ++i) {
    const Bytes whole = outbound(static_cast<std::uint16_t>(4000 + i)).payload(3000).frame();
    const auto fragments = cut(whole, 1480);
    for (const Bytes& fragment : fragments) bed.put(kVm1, fragment);
    bed.run();
    const auto sent = bed.take(kUplink);
    ASSERT_THAT(sent, SizeIs(fragments.size()));
    std::set<std::uint16_t> of_datagram;
    for (const Bytes& frame : sent) of_datagram.insert(id_of(frame));
    ASSERT_THAT(of_datagram, SizeIs(1)) << i;
    numbers.insert(*of_datagram.begin());
  }
  EXPECT_THAT(numbers, SizeIs(kDatagrams)) << "all are numbered, and differently";
}

TEST_F(Spread, OneEndpointHasOneMappingWhicheverQueueItsFramesCameBy) {
  const char* remotes[] = {"198.51.100.7", "198.51.100.8", "198.51.100.9", "198.51.100.10"};
  for (std::uint16_t port = 3000; port < 3020; ++port) {
    std::set<net::Endpoint> external;
    for (const char* remote : remotes) {
      bed.exchange(kVm1, outbound(port, remote).frame());
      external.insert(source_of(only(bed.take(kUplink))));
    }
    EXPECT_THAT(external, SizeIs(1)) << "RFC 4787 REQ-1";
  }
}

TEST_F(Spread, FragmentsOfOneDatagramComeTogether) {
  for (std::uint16_t port = 4000; port < 4030; ++port) {
    const Bytes whole = with_id(outbound(port).payload(3000).frame(), port);
    for (const Bytes& fragment : cut(whole, 1480)) bed.put(kVm1, fragment);
    bed.run();
    const auto sent = joined(bed.take(kUplink));
    ASSERT_TRUE(sent);
    EXPECT_TRUE(has_good_checksums(*sent));
  }
  EXPECT_GT(bed.counts()["handoff"], 0u);
}

TEST_F(Spread, DatagramsInFragmentsDoNotOvertakeEachOther) {
  for (std::uint16_t port = 4000; port < 4030; ++port) {
    bed.exchange(kVm1, outbound(port).frame());
    const auto external = source_of(only(bed.take(kUplink))).port.host();
    const Packet answer = Packet().from(kRouterMac, kServer, 80).to(kUplinkMac, kExternal, external).udp();
    for (std::uint16_t id = 1; id <= 16; ++id)
      for (const Bytes& fragment : cut(with_id(Packet(answer).payload(4000).frame(), id), 1480))
        bed.put(kUplink, fragment);
    bed.run();
    std::vector<unsigned> ids;
    for (const Bytes& frame : bed.take(kVm1)) ids.push_back(id_of(frame));
    EXPECT_THAT(ids, SizeIs(16 * 3));
    EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end())) << ::testing::PrintToString(ids);
  }
}

TEST_F(Spread, TheAnswersToAForwardFindItsSession) {
  const auto forwarded = endpoint(kExternal, 8080);
  bed.change_state([&](ForwardingState& state) {
    state.networks[0].hosts =
        WordTable<InsideHost>({{endpoint(kVm1Address, 0).address.raw(), {.mac = vm_mac(1), .port = kVm1}}});
    set_forwards(state, {{net::Protocol::Udp, 8080, endpoint(kVm1Address, 80)}});
  });
  for (std::uint16_t port = 5000; port < 5030; ++port) {
    bed.exchange(kUplink,
                 Packet().from(kRouterMac, kServer, port).to(kUplinkMac, kExternal, 8080).udp().frame());
    EXPECT_EQ(destination_of(only(bed.take(kVm1))), endpoint(kVm1Address, 80));
    bed.exchange(kVm1, Packet().from(vm_mac(1), kVm1Address, 80).to(kRedMac, kServer, port).udp().frame());
    EXPECT_EQ(source_of(only(bed.take(kUplink))), forwarded);
    // And what the VM opens from there, by whatever queue.
    const std::uint16_t peer = port + 1000;
    bed.exchange(kVm1, Packet().from(vm_mac(1), kVm1Address, 80).to(kRedMac, kServer, peer).udp().frame());
    EXPECT_EQ(source_of(only(bed.take(kUplink))), forwarded);
    bed.exchange(kUplink,
                 Packet().from(kRouterMac, kServer, peer).to(kUplinkMac, kExternal, 8080).udp().frame());
    EXPECT_EQ(destination_of(only(bed.take(kVm1))), endpoint(kVm1Address, 80));
  }
}

}  // namespace
}  // namespace vmnat::test
