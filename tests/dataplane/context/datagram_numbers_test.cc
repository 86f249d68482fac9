// SPDX-License-Identifier: Apache-2.0
#include "dataplane/context/datagram_numbers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <set>

namespace vmnat::test {
namespace {

using dataplane::DatagramNumbers;
using net::Ipv4Addr;

constexpr std::uint8_t kUdp = 17, kTcp = 6;
constexpr Ipv4Addr kRemote = Ipv4Addr::of(198, 51, 100, 7);

TEST(DatagramNumbers, ComeAgainOnlyAfterAllOthersAndAreNeverZero) {
  DatagramNumbers numbers(1, 0, 1);
  std::set<std::uint16_t> seen;
  const std::uint16_t first = numbers.next(kRemote, kUdp);
  seen.insert(first);
  for (unsigned i = 1; i < 65535; ++i) EXPECT_TRUE(seen.insert(numbers.next(kRemote, kUdp)).second);
  EXPECT_EQ(seen.count(0), 0u);
  EXPECT_EQ(numbers.next(kRemote, kUdp), first);
}

TEST(DatagramNumbers, OfTwoWorkersAreNeverTheSame) {
  for (const unsigned workers : {2u, 3u, 7u}) {
    std::set<std::uint16_t> seen;
    const unsigned each = 65535 / workers;
    for (unsigned worker = 0; worker < workers; ++worker) {
      DatagramNumbers numbers(worker, static_cast<WorkerIndex>(worker), workers);
      for (unsigned i = 0; i < each; ++i) seen.insert(numbers.next(kRemote, kUdp));
    }
    EXPECT_EQ(seen.size(), std::size_t{each} * workers) << workers << " workers";
    EXPECT_EQ(seen.count(0), 0u);
  }
}

TEST(DatagramNumbers, OfOneRemoteAreNotUsedUpByOthers) {
  DatagramNumbers numbers(1, 0, 1);
  const std::uint16_t before = numbers.next(kRemote, kUdp);
  unsigned shared = 0;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    const std::uint16_t last = numbers.next(kRemote, kUdp);
    numbers.next(Ipv4Addr::from_host(0xc6336500 + i), kUdp);
    numbers.next(Ipv4Addr::from_host(0xc6336500 + i), kTcp);
    const auto step = static_cast<std::uint16_t>(numbers.next(kRemote, kUdp) - last);
    shared += step != 1 ? 1u : 0u;
  }
  EXPECT_NE(before, 0);
  EXPECT_LT(shared, 20u) << "2000 others on 2048 counters: about one meets this one";
}

TEST(DatagramNumbers, StartWhereASecretSaysSo) {
  std::set<std::uint16_t> starts;
  for (std::uint64_t seed = 0; seed < 100; ++seed)
    starts.insert(DatagramNumbers(seed, 0, 1).next(kRemote, kUdp));
  EXPECT_GT(starts.size(), 90u);
}

}  // namespace
}  // namespace vmnat::test
