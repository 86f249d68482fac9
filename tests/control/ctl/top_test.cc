// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/top.h"

#include <gtest/gtest.h>

#include "control/ctl/table.h"

namespace vmnat::ctl {
namespace {

using Json = Top::Json;
using namespace std::chrono_literals;

const Top::Time kStart{1000s};

Json port(const char* name, std::uint64_t rx_bytes, std::uint64_t tx_bytes, std::uint64_t drops = 0) {
  return {{"name", name},
          {"network", "default"},
          {"address", nullptr},
          {"rx_bytes", rx_bytes},
          {"tx_bytes", tx_bytes},
          {"rx_packets", rx_bytes / 100},
          {"tx_packets", tx_bytes / 100},
          {"drops", {{"spoofed_mac", drops}, {"port_down", 1}}}};
}

Json session(const char* port, const char* internal, const char* remote, std::uint64_t out,
             std::uint64_t in) {
  return {{"port", port},     {"protocol", "tcp"}, {"internal", internal}, {"external", "203.0.113.2:1"},
          {"remote", remote}, {"bytes_out", out},  {"bytes_in", in}};
}

TEST(Top, TheFirstRoundHasNoRates) {
  Top top({});
  top.take_port(port("vm1", 1000, 0));
  EXPECT_FALSE(top.end_round(kStart));
}

TEST(Top, RatesAreDifferencesAndTheBusiestComesFirst) {
  Top top({});
  top.take_port(port("vm1", 1000, 5000));
  top.take_port(port("vm2", 0, 0, 4));
  top.end_round(kStart);
  top.take_port(port("vm1", 2000, 5000));
  top.take_port(port("vm2", 0, 4000, 10));
  const auto round = top.end_round(kStart + 2s);
  ASSERT_TRUE(round);
  ASSERT_EQ(round->ports.size(), 2u);
  EXPECT_EQ(round->ports[0]["name"], "vm2");
  EXPECT_EQ(round->ports[0]["in_bits"], 16000.0) << "4000 bytes in 2 s";
  EXPECT_EQ(round->ports[0]["in_packets"], 20.0);
  EXPECT_EQ(round->ports[0]["drops"], 3.0);
  EXPECT_EQ(round->ports[1]["out_bits"], 4000.0);
  EXPECT_EQ(round->ports[1]["in_bits"], 0.0);
  EXPECT_TRUE(round->ports[0]["sessions"].is_null());
}

TEST(Top, APortThatHasComeOrBegunAnewHasNoHugeRate) {
  Top top({});
  top.take_port(port("vm1", 1'000'000, 0));
  top.end_round(kStart);
  top.take_port(port("vm1", 100, 0));
  top.take_port(port("vm2", 1'000'000, 0));
  const auto round = top.end_round(kStart + 1s);
  EXPECT_EQ(round->ports[0]["name"], "vm1");
  EXPECT_EQ(round->ports[0]["out_bits"], 800.0) << "its counters begin anew with a restart";
  EXPECT_EQ(round->ports[1]["out_bits"], 0.0) << "what it had before is of no round";
}

TEST(Top, RemotesAreTheSumsOfTheirSessionsAndOneThatEndsTakesNothingAway) {
  Top top({});
  top.take_session(session("vm1", "10.0.0.2:1", "9.9.9.9:443", 1000, 0));
  top.take_session(session("vm2", "10.0.0.3:1", "9.9.9.9:80", 50'000, 0));
  top.end_round(kStart);
  top.take_port(port("vm1", 0, 0));
  top.take_session(session("vm1", "10.0.0.2:1", "9.9.9.9:443", 3000, 0));
  top.take_session(session("vm1", "10.0.0.2:2", "8.8.8.8:53", 100, 100));
  const auto round = top.end_round(kStart + 1s);
  ASSERT_EQ(round->remotes.size(), 2u);
  EXPECT_EQ(round->remotes[0],
            Json({{"remote", "9.9.9.9"}, {"sessions", 1}, {"out_bits", 16000.0}, {"in_bits", 0.0}}));
  EXPECT_EQ(round->remotes[1],
            Json({{"remote", "8.8.8.8"}, {"sessions", 1}, {"out_bits", 800.0}, {"in_bits", 800.0}}));
  EXPECT_EQ(round->ports[0]["sessions"], 2u);
}

TEST(Top, RatesReadWithThreeDigits) {
  for (const auto& [number, text] : {std::pair{0.0, "0"},
                                     {999.4, "999"},
                                     {999.6, "1.00 k"},
                                     {12'345.0, "12.3 k"},
                                     {123'456.0, "123 k"},
                                     {4.17e9, "4.17 G"},
                                     {99'960.0, "100 k"},
                                     {5e15, "5000 T"}})
    EXPECT_EQ(scaled(number), text) << number;
  EXPECT_EQ(scaled(nullptr), "-");
}

TEST(Top, TheTextHasBothTablesAndSaysHowManyAreNotShown) {
  Top::Round round;
  for (const char* name : {"vm1", "vm2", "vm3"})
    round.ports.push_back({{"name", name},
                           {"network", "default"},
                           {"address", "10.0.0.2"},
                           {"out_bits", 1e6},
                           {"in_bits", 2e3},
                           {"out_packets", 10},
                           {"in_packets", 20},
                           {"sessions", 7},
                           {"drops", 0}});
  EXPECT_EQ(top_text(round, 2),
            "PORT  NETWORK  ADDRESS   OUT_BIT/S  IN_BIT/S  OUT_PKT/S  IN_PKT/S  SESSIONS  DROPS/S\n"
            "vm1   default  10.0.0.2     1.00 M    2.00 k         10        20         7        0\n"
            "vm2   default  10.0.0.2     1.00 M    2.00 k         10        20         7        0\n"
            "... and 1 more\n");
  round.remotes.push_back({{"remote", "9.9.9.9"}, {"sessions", 1}, {"out_bits", 0.0}, {"in_bits", 0.0}});
  EXPECT_NE(top_text(round, 2).find("\n\nREMOTE   SESSIONS  OUT_BIT/S  IN_BIT/S\n"), std::string::npos);
}

}  // namespace
}  // namespace vmnat::ctl
