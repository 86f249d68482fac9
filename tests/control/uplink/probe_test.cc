// SPDX-License-Identifier: Apache-2.0
// UplinkProbe against a clock and a network that the test owns.
#include "control/uplink/probe.h"

#include <gtest/gtest.h>
#include <utility>

#include "net/checksum.h"
#include "net/wire.h"

namespace vmnat::control {
namespace {

using namespace std::chrono_literals;

const auto kOwn = net::Ipv4Addr::of(203, 0, 113, 2), kTarget = net::Ipv4Addr::of(198, 51, 100, 1);
using Frame = std::vector<std::byte>;

Frame answer_to(Frame frame) {
  auto& ip = *net::mutable_view<net::Ipv4Header>(frame, 14);
  std::swap(ip.source, ip.destination);
  net::mutable_view<net::IcmpHeader>(frame, 34)->type = net::IcmpType::EchoReply;
  return frame;
}

class Probe : public testing::Test {
 protected:
  Probe() { probe.set_target(kTarget); }
  // The next second's echo, and whether it is answered.
  void second(bool is_answered) {
    ASSERT_TRUE(probe.take_due(now));
    if (is_answered) probe.receive(answer_to(probe.request(kOwn)));
    now += UplinkProbe::kInterval;
  }
  void seconds(unsigned count, bool is_answered) {
    for (unsigned i = 0; i < count; ++i) second(is_answered);
  }
  // What was asked last is done with when the next one is due.
  bool is_silent() {
    probe.take_due(now);
    return probe.is_silent();
  }

  SteadyTime now{1000s};
  UplinkProbe probe{0x0123456789abcdef};
};

TEST_F(Probe, AsksOnceASecond) {
  EXPECT_TRUE(probe.take_due(now));
  EXPECT_FALSE(probe.take_due(now + 999ms));
  EXPECT_TRUE(probe.take_due(now + 1s));
}

TEST_F(Probe, AsksNobodyWithoutATarget) {
  probe.set_target({});
  EXPECT_FALSE(probe.take_due(now));
  EXPECT_FALSE(probe.is_silent());
}

TEST_F(Probe, SendsAnEchoRequestWithTheIdentifierThatNoFlowHas) {
  ASSERT_TRUE(probe.take_due(now));
  const Frame frame = probe.request(kOwn);
  const auto& ip = *net::view<net::Ipv4Header>(frame, 14);
  const auto& icmp = *net::view<net::IcmpHeader>(frame, 34);
  EXPECT_EQ(ip.source, kOwn);
  EXPECT_EQ(ip.destination, kTarget);
  EXPECT_EQ(icmp.type, net::IcmpType::EchoRequest);
  EXPECT_EQ(icmp.identifier.host(), 0);
  EXPECT_EQ(icmp.sequence.host(), 1);
  EXPECT_EQ(ip.total_length.host(), frame.size() - 14);
  EXPECT_TRUE(net::is_intact(net::added_sum(std::span{frame}.subspan(14, 20))));
  EXPECT_TRUE(net::is_intact(net::added_sum(std::span{frame}.subspan(34))));
}

TEST_F(Probe, IsSilentAfterThreeUnansweredInARow) {
  seconds(2, false);
  second(true);
  seconds(2, false);
  EXPECT_FALSE(is_silent());
  now += 1s;
  EXPECT_TRUE(is_silent()) << "the third one";
}

TEST_F(Probe, AnswersAgainAfterThreeAnsweredInARow) {
  seconds(3, false);
  seconds(2, true);
  second(false);
  seconds(2, true);
  EXPECT_TRUE(is_silent());
  probe.receive(answer_to(probe.request(kOwn)));
  now += 1s;
  EXPECT_FALSE(is_silent());
}

TEST_F(Probe, HeedsNoAnswerButTheRightOne) {
  ASSERT_TRUE(probe.take_due(now));
  const Frame right = answer_to(probe.request(kOwn));
  const auto refused = [&](auto change) {
    Frame wrong = right;
    change(wrong);
    UplinkProbe other = probe;
    other.receive(wrong);
    for (SteadyTime at = now + 1s; at < now + 4s; at += 1s) other.take_due(at);
    return other.is_silent();
  };
  EXPECT_FALSE(refused([](Frame&) {})) << "one of the three is answered";
  EXPECT_TRUE(refused([](Frame& frame) { frame.back() ^= std::byte{1}; })) << "another number";
  EXPECT_TRUE(refused([](Frame& frame) { frame[41] ^= std::byte{1}; })) << "another sequence";
  EXPECT_TRUE(refused([](Frame& frame) { frame[34] = std::byte{8}; })) << "a request";
  EXPECT_TRUE(refused([](Frame& frame) { frame[29] ^= std::byte{1}; })) << "another host's";
  EXPECT_TRUE(refused([](Frame& frame) { frame.resize(45); })) << "cut";
  EXPECT_TRUE(refused([](Frame& frame) { frame.clear(); }));
}

TEST_F(Probe, AnotherTargetBeginsAnew) {
  seconds(3, false);
  EXPECT_TRUE(is_silent());
  probe.set_target(net::Ipv4Addr::of(198, 51, 100, 9));
  EXPECT_FALSE(probe.is_silent());
  EXPECT_TRUE(probe.take_due(now));
}

}  // namespace
}  // namespace vmnat::control
