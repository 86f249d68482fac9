// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/tenures.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace vmnat::ctl {
namespace {

using nlohmann::json;

std::string time_at(unsigned minute) {
  return fmt::format("2026-01-01T12:{:02}:00.000Z", minute);
}

std::string session(const char* event, unsigned minute, const char* internal,
                    const char* external = "203.0.113.2:5000", const char* remote = "9.9.9.9:53") {
  return fmt::format(
      R"({{"time":"{}","event":"{}","network":"default","port":"vm1","protocol":"udp","internal":"{}",)"
      R"("external":"{}","remote":"{}"}})",
      time_at(minute), event, internal, external, remote);
}

std::string block(const char* event, unsigned minute, const char* internal) {
  return fmt::format(R"({{"time":"{}","event":"{}","network":"default","port":"vm1","internal":"{}",)"
                     R"("external":"203.0.113.2","first_port":4992,"last_port":5055}})",
                     time_at(minute), event, internal);
}

std::string mark(const char* event, unsigned minute) {
  return fmt::format(R"({{"time":"{}","event":"{}"}})", time_at(minute), event);
}

Tenures tenures_of(const std::vector<std::string>& lines,
                   const TenureQuery& query = {"203.0.113.2", 5000, {}, {}}) {
  Tenures tenures(query);
  for (const std::string& line : lines) EXPECT_TRUE(tenures.take(line)) << line;
  return tenures;
}

// Who had it, in words.
std::vector<std::string> at(const Tenures& tenures, const std::string& time) {
  std::vector<std::string> who;
  for (const json& tenure : tenures.at(time)) who.push_back(tenure["internal"]);
  return who;
}
using Who = std::vector<std::string>;

TEST(Tenures, EachHasItFromItsBeginningToItsEnd) {
  const auto tenures = tenures_of({session("created", 1, "10.0.0.1:1"), session("ended", 2, "10.0.0.1:1"),
                                   session("created", 3, "10.0.0.2:2"),
                                   session("created", 3, "10.0.0.3:3", "203.0.113.2:5001")});
  EXPECT_EQ(at(tenures, time_at(0)), Who{});
  EXPECT_EQ(at(tenures, time_at(1)), Who{"10.0.0.1:1"});
  EXPECT_EQ(at(tenures, time_at(2)), Who{});
  EXPECT_EQ(at(tenures, time_at(3)), Who{"10.0.0.2:2"});
  EXPECT_EQ(at(tenures, ""), Who{"10.0.0.2:2"}) << "now";
  const json now = tenures.at("");
  EXPECT_EQ(now[0]["from"], time_at(3));
  EXPECT_TRUE(now[0]["until"].is_null());
  EXPECT_FALSE(now[0].contains("event"));
}

TEST(Tenures, AnOverloadedPortHasSeveralAtATime) {
  const auto tenures = tenures_of({session("created", 1, "10.0.0.1:1", "203.0.113.2:5000", "9.9.9.9:53"),
                                   session("created", 1, "10.0.0.2:2", "203.0.113.2:5000", "1.1.1.1:53")});
  EXPECT_EQ(at(tenures, ""), (Who{"10.0.0.1:1", "10.0.0.2:2"}));
  EXPECT_EQ(at(tenures_of({session("created", 1, "10.0.0.1:1"),
                           session("created", 1, "10.0.0.2:2", "203.0.113.2:5000", "1.1.1.1:53")},
                          {"203.0.113.2", 5000, "udp", "1.1.1.1:53"}),
               ""),
            Who{"10.0.0.2:2"});
}

TEST(Tenures, ABlockHasAllOfItsPorts) {
  const std::vector<std::string> lines{block("block_given", 1, "10.0.0.1"),
                                       block("block_returned", 5, "10.0.0.1"),
                                       block("block_given", 6, "10.0.0.2")};
  for (const unsigned port : {4992u, 5000u, 5055u}) {
    const auto tenures = tenures_of(lines, {"203.0.113.2", port, {}, {}});
    EXPECT_EQ(at(tenures, time_at(3)), Who{"10.0.0.1"});
    EXPECT_EQ(at(tenures, time_at(5)), Who{});
    EXPECT_EQ(at(tenures, time_at(7)), Who{"10.0.0.2"});
  }
  EXPECT_EQ(at(tenures_of(lines, {"203.0.113.2", 5056, {}, {}}), time_at(3)), Who{});
  EXPECT_EQ(at(tenures_of(lines, {"203.0.113.20", 5000, {}, {}}), time_at(3)), Who{});
}

TEST(Tenures, WhatIsPresentAtANewStartGoesOnAndTheRestHasEnded) {
  const auto tenures =
      tenures_of({session("created", 1, "10.0.0.1:1", "203.0.113.2:5000", "9.9.9.9:53"),
                  session("created", 1, "10.0.0.2:2", "203.0.113.2:5000", "1.1.1.1:53"), mark("started", 4),
                  session("present", 4, "10.0.0.1:1", "203.0.113.2:5000", "9.9.9.9:53")});
  EXPECT_EQ(at(tenures, time_at(2)), (Who{"10.0.0.1:1", "10.0.0.2:2"}));
  EXPECT_EQ(at(tenures, time_at(5)), Who{"10.0.0.1:1"});
  EXPECT_EQ(tenures.at("")[0]["from"], time_at(1));
}

TEST(Tenures, WhatBeganBeforeTheLogHasNoBeginning) {
  const auto tenures = tenures_of(
      {session("ended", 2, "10.0.0.1:1"), mark("started", 3), session("present", 3, "10.0.0.2:2")});
  EXPECT_EQ(at(tenures, time_at(1)), (Who{"10.0.0.1:1", "10.0.0.2:2"}));
  EXPECT_TRUE(tenures.at("")[0]["from"].is_null());
}

TEST(Tenures, LinesThatAreNoneAreRefused) {
  Tenures tenures({"203.0.113.2", 5000, {}, {}});
  EXPECT_FALSE(tenures.take("hello"));
  EXPECT_FALSE(tenures.take(R"({"external":"203.0.113.2:5000")"));
  EXPECT_TRUE(tenures.take(mark("lost", 1)));
  EXPECT_EQ(tenures.at("").size(), 0u);
}

TEST(LogTime, TakesRfc3339AndSecondsSince1970) {
  EXPECT_EQ(log_time("2026-01-01T12:00:00Z"), "2026-01-01T12:00:00.000Z");
  EXPECT_EQ(log_time("2026-01-01T12:00:00.5Z"), "2026-01-01T12:00:00.500Z");
  EXPECT_EQ(log_time("2026-01-01T12:00:00.123456Z"), "2026-01-01T12:00:00.123Z");
  EXPECT_EQ(log_time("2026-01-01T12:00:00+02:00"), "2026-01-01T10:00:00.000Z");
  EXPECT_EQ(log_time("2026-01-01T00:30:00-01:30"), "2026-01-01T02:00:00.000Z");
  EXPECT_EQ(log_time("@1767268800"), "2026-01-01T12:00:00.000Z");
  for (const char* wrong : {"", "now", "2026-01-01", "2026-01-01T12:00:00", "2026-13-01T12:00:00Z",
                            "2026-01-01T12:00:00+2", "@", "@12x", "2026-01-01T12:00:00Zx"})
    EXPECT_EQ(log_time(wrong), std::nullopt) << wrong;
}

TEST(TenureQuery, IsAnAddressAndAPort) {
  const auto query = parse_tenure_query("203.0.113.2:5000");
  ASSERT_TRUE(query);
  EXPECT_EQ(query->address, "203.0.113.2");
  EXPECT_EQ(query->port, 5000u);
  EXPECT_FALSE(parse_tenure_query("203.0.113.2"));
  EXPECT_FALSE(parse_tenure_query("203.0.113.2:70000"));
}

}  // namespace
}  // namespace vmnat::ctl
