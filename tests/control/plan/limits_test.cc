// SPDX-License-Identifier: Apache-2.0
// The configuration's limits as workers get them, at first and after changes.
#include "control/plan/limits.h"

#include <gtest/gtest.h>

#include "control/plan/initial_state.h"
#include "tests/control/plan/configured.h"

namespace vmnat::control {
namespace {

constexpr LimitClock kClock{.now = 5, .hz = 1'000'000'000};
using Rates = dataplane::Limit::Rates;

config::Config with(const std::string& uplink, const std::string& red, const std::string& vm1) {
  auto config = configured("  - {name: red, address: 192.168.122.1/24, " + red +
                           "ports: [{name: vm1, device: veth1" + vm1 +
                           "}, {name: vm2, device: veth2}]}\n"
                           "  - {name: blue, address: 192.168.5.1/24, ports: [{name: vm3, device: veth3}], "
                           "host: {interface: vmnat0}}\n");
  if (!uplink.empty()) {
    const auto loaded = config::load_config_text("uplink: {device: eth0, address: dhcp, limit: " + uplink +
                                                     "}\nnetworks: [{name: a, address: 10.0.0.1/24}]\n",
                                                 "test.yaml");
    config.uplink.limit = loaded.value().uplink.limit;
  }
  return config;
}

struct Planned {
  dataplane::ForwardingState state;
  explicit Planned(const config::Config& config) : state(initial_state(config, plan_ports(config, 1))) {
    change(config);
  }
  void change(const config::Config& config) { set_limits(config, plan_ports(config, 1), kClock, state); }
  [[nodiscard]] const dataplane::PortLimits& of(PortIndex port) const { return state.limits->ports[port]; }
};

TEST(PlannedLimits, WithoutAnyThereIsNoTable) {
  const Planned planned(with("", "", ""));
  EXPECT_EQ(planned.state.limits, nullptr);
  for (const auto& port : planned.state.ports) EXPECT_FALSE(port.is_limited);
  const Planned lifted(with("", "limit: {in: {}}, ", ", limit: {out: {}}"));
  EXPECT_EQ(lifted.state.limits, nullptr) << "an empty direction is none";
}

TEST(PlannedLimits, PacketsOfASectionAreThoseOfEachDirectionThatSaysNoneItself) {
  const Planned planned(
      with("", "limit: {in: {rate: 10M, packets: 700}, packets: 1000}, ", ", limit: {packets: 500}"));
  EXPECT_EQ(planned.of(2).in.own->rates().packets.per_second, 700u);
  EXPECT_EQ(planned.of(2).out.own->rates().packets.per_second, 1000u);
  EXPECT_EQ(planned.of(2).out.own->rates().bytes.per_second, 0u);
  EXPECT_EQ(planned.of(1).in.own->rates().packets.per_second, 500u);
  EXPECT_EQ(planned.of(1).in.own->rates().bytes.per_second, 1'250'000u) << "the rate is the network's";
  EXPECT_EQ(planned.of(1).out.own->rates().packets.per_second, 500u);
}

TEST(PlannedLimits, APortHasItsOwnElseTheNetworksByDirection) {
  const Planned planned(with("", "limit: {in: {rate: 10M, burst: 64K}, out: {rate: 20M, burst: 64K}}, ",
                             ", limit: {out: {rate: 5M, burst: 32K}}"));
  EXPECT_EQ(planned.of(1).in.own->rates().bytes, (RateBucket::Rate{1'250'000, 65536}));
  EXPECT_EQ(planned.of(1).out.own->rates().bytes, (RateBucket::Rate{625'000, 32768}));
  EXPECT_EQ(planned.of(2).out.own->rates().bytes, (RateBucket::Rate{2'500'000, 65536}));
  EXPECT_NE(planned.of(1).in.own, planned.of(2).in.own) << "each its own";
  EXPECT_TRUE(planned.state.ports[1].is_limited);
  EXPECT_FALSE(planned.state.ports[3].is_limited);
  EXPECT_FALSE(planned.of(3).out.is_any());
  const Planned lifted(with("", "limit: {in: {rate: 10M}, out: {rate: 20M}}, ", ", limit: {out: {}}"));
  EXPECT_EQ(lifted.of(1).out.own, nullptr);
  EXPECT_NE(lifted.of(1).in.own, nullptr);
}

TEST(PlannedLimits, WhatIsSharedIsOneAndTheSame) {
  const Planned planned(with("{in: {rate: 1G}, out: {rate: 200M}}", "shared_limit: {in: {rate: 50M}}, ", ""));
  EXPECT_EQ(planned.of(1).in.network, planned.of(2).in.network);
  EXPECT_EQ(planned.of(3).in.network, nullptr);
  EXPECT_EQ(planned.of(1).out.uplink, planned.of(3).out.uplink);
  EXPECT_NE(planned.of(1).out.uplink, planned.of(1).in.uplink);
  EXPECT_EQ(planned.of(3).network, 1);
  EXPECT_FALSE(planned.of(0).in.is_any() || planned.of(0).out.is_any()) << "the uplink itself is no VM";
  EXPECT_FALSE(planned.of(4).in.is_any() || planned.of(4).out.is_any()) << "nor is the host";
  EXPECT_EQ(planned.state.limits->all.size(), 3u);
}

TEST(PlannedLimits, HaveDefaultsForWhatIsNotGiven) {
  using config::BitRate;
  using config::ByteSize;
  const auto rates = [](std::optional<BitRate> rate, std::optional<ByteSize> burst,
                        std::optional<BitRate> peak, std::optional<std::uint32_t> packets) {
    return rates_of({.rate = rate, .burst = burst, .peak = peak, .packets = packets});
  };
  EXPECT_EQ(rates({}, {}, {}, {}), Rates{});
  EXPECT_EQ(rates(BitRate{100'000'000}, {}, {}, {}).bytes, (RateBucket::Rate{12'500'000, 125'000}))
      << "10 ms";
  EXPECT_EQ(rates(BitRate{1'000'000}, {}, {}, {}).bytes, (RateBucket::Rate{125'000, 16'384})) << "not less";
  EXPECT_EQ(rates(BitRate{1'000'000}, ByteSize{4096}, {}, {}).bytes, (RateBucket::Rate{125'000, 4096}));
  EXPECT_EQ(rates(BitRate{1'000'000}, {}, BitRate{80'000'000}, {}).peak,
            (RateBucket::Rate{10'000'000, 20'000}));
  EXPECT_EQ(rates({}, {}, {}, 10'000).packets, (RateBucket::Rate{10'000, 200}));
  EXPECT_EQ(rates({}, {}, {}, 5).packets, (RateBucket::Rate{5, 32}));
}

TEST(PlannedLimits, WhoStaysAsHeWasKeepsWhatHeHasTaken) {
  Planned planned(
      with("{in: {rate: 1G}}", "shared_limit: {in: {rate: 50M}}, limit: {out: {rate: 5M}}, ", ""));
  const auto before = planned.state.limits;
  planned.of(1).in.uplink->charge(kClock.now, {1'000'000, 1});
  planned.change(with("{in: {rate: 1G}}", "shared_limit: {in: {rate: 50M}}, limit: {out: {rate: 5M}}, ", ""));
  EXPECT_EQ(planned.state.limits, before) << "nothing is told anew";
  planned.change(with("{in: {rate: 1G}}", "shared_limit: {in: {rate: 60M}}, limit: {out: {rate: 5M}}, ",
                      ", limit: {out: {rate: 6M}}"));
  EXPECT_NE(planned.state.limits, before);
  EXPECT_EQ(planned.of(1).in.uplink, before->ports[1].in.uplink);
  EXPECT_LT(planned.of(1).in.uplink->left(kClock.now).bytes, 300'000) << "1.25 MB less what was taken";
  EXPECT_EQ(planned.of(2).out.own, before->ports[2].out.own);
  EXPECT_NE(planned.of(1).out.own, before->ports[1].out.own);
  EXPECT_NE(planned.of(1).in.network, before->ports[1].in.network);
  planned.change(with("", "", ""));
  EXPECT_EQ(planned.state.limits, nullptr);
  EXPECT_FALSE(planned.state.ports[1].is_limited);
}

}  // namespace
}  // namespace vmnat::control
