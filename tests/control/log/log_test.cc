// SPDX-License-Identifier: Apache-2.0
// Lines of the log as programs read them, and which of DPDK's are worth how much.
#include "control/log/log.h"

#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace vmnat::control {
namespace {

using nlohmann::json;

// What is written to standard error for one message at level info.
std::string logged(LogFormat format, std::string_view message) {
  ::testing::internal::CaptureStderr();
  start_log(spdlog::level::info, format);
  spdlog::info("{}", message);
  return ::testing::internal::GetCapturedStderr();
}

TEST(Log, JsonLinesAreOneObjectEachWhateverTheMessageHolds) {
  const std::string messages[] = {"plain",    R"(say "hi" \ there)",           "two\nlines\tand a tab",
                                  "{} %v %s", std::string("\x01\x1f\0end", 6), "grüße"};
  for (const std::string& message : messages) {
    const std::string line = logged(LogFormat::Json, message);
    EXPECT_EQ(std::ranges::count(line, '\n'), 1) << line;
    const json object = json::parse(line);
    EXPECT_EQ(object["message"], message);
    EXPECT_EQ(object["level"], "info");
    EXPECT_THAT(object["time"].get<std::string>(),
                ::testing::MatchesRegex("[0-9-]{10}T[0-9:]{8}\\.[0-9]{3}Z"));
  }
}

TEST(Log, BytesThatAreNoUtf8AreReplacedNotFatal) {
  const json object = json::parse(logged(LogFormat::Json, "a\xff z"));
  EXPECT_EQ(object["message"], "a\xef\xbf\xbd z");
}

TEST(Log, TextIsForPeople) {
  EXPECT_THAT(logged(LogFormat::Text, "port vm1 is up"), ::testing::EndsWith(" info: port vm1 is up\n"));
}

TEST(Log, QuieterLevelsAreLeftOut) {
  ::testing::internal::CaptureStderr();
  start_log(spdlog::level::warn, LogFormat::Text);
  spdlog::info("not shown");
  spdlog::warn("shown");
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, ::testing::HasSubstr("shown"));
  EXPECT_THAT(text, ::testing::Not(::testing::HasSubstr("not shown")));
}

TEST(Log, DpdksLevelsAreKeptAndItsOrdinaryLifeIsOnlyDebugged) {
  constexpr std::uint32_t kError = 4, kWarning = 5, kNotice = 6;  // rte_log.h
  const char* waiting = "VHOST_CONFIG: (/run/vm1.sock) failed to connect: No such file or directory";
  const char* refused = "VHOST_CONFIG: (/run/vm1.sock) failed to connect: Connection refused";
  const char* forbidden = "VHOST_CONFIG: (/run/vm1.sock) failed to connect: Permission denied";
  EXPECT_EQ(level_of_dpdk(kWarning, waiting), spdlog::level::debug);
  EXPECT_EQ(level_of_dpdk(kWarning, refused), spdlog::level::debug);
  EXPECT_EQ(level_of_dpdk(kWarning, forbidden), spdlog::level::warn);
  EXPECT_EQ(level_of_dpdk(kError, "EAL: no memory"), spdlog::level::err);
  EXPECT_EQ(level_of_dpdk(kNotice, "EAL: detected"), spdlog::level::debug);
}

TEST(Log, DpdksLinesCountForTheSocketThatTheyName) {
  EXPECT_EQ(socket_in_dpdk_line("VHOST_CONFIG: (/run/vm1.sock) vhost peer closed"), "/run/vm1.sock");
  EXPECT_EQ(socket_in_dpdk_line("VHOST_CONFIG: (/run/vm1.sock"), "dpdk");
  EXPECT_EQ(socket_in_dpdk_line("EAL: no memory"), "dpdk");
}

}  // namespace
}  // namespace vmnat::control
