// SPDX-License-Identifier: Apache-2.0
// The command line: what belongs together, and what is refused with which words.
#include "bench/generator/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vmnat::bench {
namespace {

struct Parsed {
  std::optional<Options> options;
  std::string error;
};

Parsed parse(std::vector<std::string> arguments, const std::string& vm = "/run/vm%.sock") {
  arguments.insert(arguments.begin(),
                   {"vmnat-bench", "--uplink", "/run/uplink.sock", "--flows", "10", "--vm", vm});
  std::vector<char*> pointers;
  pointers.reserve(arguments.size());
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  testing::internal::CaptureStderr();
  const ParsedOptions parsed = parse_options(static_cast<int>(pointers.size()), pointers.data());
  return {parsed.options, testing::internal::GetCapturedStderr()};
}

TEST(Options, OnePortIsTakenAsItIsGiven) {
  const Options options = parse({}).options.value();
  EXPECT_EQ(options.vm_ports(), 1u);
  EXPECT_EQ(options.vm_port_at(0), "/run/vm%.sock");
  EXPECT_FALSE(options.burst);
  EXPECT_TRUE(parse({}, "0000:3b:00.0").options);
}

TEST(Options, ThePortsNumberStandsInThePattern) {
  const Options options = parse({"--ports", "31", "--burst", "4"}).options.value();
  EXPECT_EQ(options.vm_ports(), 31u);
  EXPECT_EQ(options.vm_port_at(0), "/run/vm0.sock");
  EXPECT_EQ(options.vm_port_at(30), "/run/vm30.sock");
  EXPECT_EQ(options.burst, 4u);
}

TEST(Options, WhatManyPortsCannotBeIsRefused) {
  const struct {
    std::vector<std::string> arguments;
    std::string vm, says;
  } cases[] = {
      {{"--ports", "2"}, "/run/vm.sock", "a % in it"},
      {{"--ports", "2"}, "0000:3b:00.0", "a % in it"},
      {{"--ports", "2"}, "net_vhost%,iface=/run/x", "a % in it"},
      {{"--ports", "0"}, "/run/vm%.sock", "--ports"},
      {{"--ports", "32"}, "/run/vm%.sock", "--ports"},
      {{"--ports", "31", "--flooder", "/run/f.sock"}, "/run/vm%.sock", "30 at most"},
      {{"--ports", "2", "--mode", "forward"}, "/run/vm%.sock", "use --mode reflect"},
      {{"--mode", "reflect", "--connections", "tcp"}, "/run/vm%.sock", "--connections"},
      {{"--burst", "0"}, "/run/vm%.sock", "--burst"},
      {{"--burst", "33"}, "/run/vm%.sock", "--burst"},
      {{"--burst", "1"}, "0000:3b:00.0", "--burst"},
  };
  for (const auto& refused : cases) {
    const Parsed parsed = parse(refused.arguments, refused.vm);
    EXPECT_FALSE(parsed.options) << refused.vm << " " << refused.says;
    EXPECT_THAT(parsed.error, testing::HasSubstr(refused.says));
  }
}

TEST(Options, ManyPortsHaveRoomForAFlooder) {
  EXPECT_TRUE(parse({"--ports", "30", "--flooder", "/run/f.sock"}).options);
  EXPECT_TRUE(parse({"--ports", "31", "--mode", "reflect"}).options);
}

}  // namespace
}  // namespace vmnat::bench
