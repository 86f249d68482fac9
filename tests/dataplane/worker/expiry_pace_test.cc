// SPDX-License-Identifier: Apache-2.0
// Sessions end in time at whatever rate a worker polls.
#include "dataplane/worker/expiry_pace.h"

#include <gtest/gtest.h>

#include "tests/conntrack/fixture.h"

namespace vmnat::dataplane {
namespace {

constexpr std::uint64_t kTscHz = 2'000'000'000;
constexpr std::uint32_t kRecords = 65536;
constexpr std::uint64_t kUdpSeconds = 300;

Time time_at(std::uint64_t tsc) {
  return Time{Ticks{static_cast<std::uint32_t>(tsc * 16 / kTscHz)}};
}

// Seconds from the last session's time to its end, in a table that is full, polled each `period` ticks.
double seconds_late(std::uint64_t period) {
  conntrack::Nat nat({.addresses = 2, .capacity = kRecords});
  const net::Endpoint remote = conntrack::endpoint("198.51.100.1", 53);
  for (unsigned i = 0; i < kRecords; ++i)
    nat.open({net::Ipv4Addr::from_host(0x0a000001 + i / 50000),
              net::L4Port::from_host(static_cast<std::uint16_t>(1024 + i % 50000))},
             remote);
  ExpiryPace pace(kRecords, kTscHz);
  std::uint64_t tsc = (kUdpSeconds - 10) * kTscHz;
  while (nat->statistics().active > 0 && tsc < (kUdpSeconds + 60) * kTscHz) {
    tsc += period;
    if (pace.is_due(tsc)) nat->expire(time_at(tsc), pace.take(tsc));
  }
  return static_cast<double>(tsc) / kTscHz - static_cast<double>(kUdpSeconds);
}

TEST(ExpiryPace, AFullTableIsExpiredInFourSecondsByAWorkerThatRests) {
  EXPECT_LE(seconds_late(kTscHz / 500), 4.1);  // an idle one polls each 2 ms
}

TEST(ExpiryPace, TheSameByOneThatIsBusy) {
  EXPECT_LE(seconds_late(kTscHz / 20'000), 4.1);
  EXPECT_LE(seconds_late(kTscHz / 1000), 4.1);
}

TEST(ExpiryPace, APollAfterALongSilenceIsNotLong) {
  ExpiryPace pace(1 << 20, kTscHz);
  pace.take(kTscHz);
  ASSERT_TRUE(pace.is_due(100 * kTscHz));
  EXPECT_EQ(pace.take(100 * kTscHz), 65 * ExpiryPace::kMostSteps);
  EXPECT_FALSE(pace.is_due(100 * kTscHz + 1));
}

}  // namespace
}  // namespace vmnat::dataplane
