// SPDX-License-Identifier: Apache-2.0
#include "control/watch/exhaustion.h"

#include <gtest/gtest.h>

namespace vmnat::control {
namespace {

using dataplane::DropReason;
using dataplane::RefusedRemotes;

net::Ipv4Addr remote(std::uint8_t host) {
  return net::Ipv4Addr::of(198, 51, 100, host);
}

struct ExhaustionTest : ::testing::Test {
  ExhaustionTest() {
    config.networks = {{.name = "red", .ports = {{.name = "vm1", .vhost_user = "/1"}}},
                       {.name = "blue", .ports = {{.name = "vm2", .vhost_user = "/2"}}}};
    ports = plan_ports(config, 1);
  }
  void refuse(unsigned worker, std::uint8_t host, PortIndex port, unsigned times) {
    for (unsigned i = 0; i < times; ++i) workers[worker].note(remote(host), port, DropReason::NoPort);
  }
  RefusedByWorker copies() const { return {workers[0].copied(), workers[1].copied()}; }

  config::Config config;
  std::vector<PortPlan> ports;
  RefusedRemotes workers[2];
};

TEST_F(ExhaustionTest, TheWorkersRowsAreOneListMostRefusedFirst) {
  refuse(0, 1, 1, 3);
  refuse(0, 2, 1, 4);
  refuse(1, 1, 2, 5);
  const auto rows = most_refused(copies());
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].remote, remote(1));
  EXPECT_EQ(rows[0].count, 8u);
  EXPECT_EQ(rows[1].remote, remote(2));
  EXPECT_EQ(rows[1].count, 4u);
}

TEST_F(ExhaustionTest, TheLogHearsOfItOnceAndAgainWhenThereIsMore) {
  ExhaustionWatch watch(config, ports);
  EXPECT_EQ(watch.news(copies()), std::nullopt);
  refuse(0, 1, 1, 3);
  refuse(1, 2, 2, 4);
  EXPECT_EQ(watch.news(copies()),
            "sessions refused: 7 since the last word, at last network blue, port vm2, remote 198.51.100.2: "
            "no_port");
  EXPECT_EQ(watch.news(copies()), std::nullopt);
  refuse(0, 1, 0, 1);
  EXPECT_EQ(watch.news(copies()),
            "sessions refused: 1 since the last word, at last network -, port uplink, remote 198.51.100.1: "
            "no_port");
}

}  // namespace
}  // namespace vmnat::control
