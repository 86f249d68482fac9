// SPDX-License-Identifier: Apache-2.0
// Which resolvers VMs are told by default, as the host's files change.
#include "control/watch/resolver_watch.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <unistd.h>

namespace vmnat::control {
namespace {

using namespace std::chrono_literals;
using Addresses = std::vector<net::Ipv4Addr>;

const auto kFirst = net::Ipv4Addr::of(192, 0, 2, 1), kSecond = net::Ipv4Addr::of(192, 0, 2, 9);

config::Config config_with(const Addresses& host) {
  config::Config config;
  config.networks = {
      {.name = "follows", .dhcp = config::Dhcp{.dns = {config::DnsSource::Host, host}}},
      {.name = "has its own", .dhcp = config::Dhcp{.dns = {config::DnsSource::Listed, {kFirst}}}},
      {.name = "no dhcp"}};
  return config;
}

struct ResolverWatchTest : ::testing::Test {
  Addresses host{kFirst};
  config::Config config = config_with(host);
  ResolverWatch watch{config, [this] { return host; }};
  ResolverWatch::Time now{1000s};

  bool look() { return watch.look(now += ResolverWatch::kPause); }
  const Addresses& told() { return config.networks[0].dhcp->dns.servers; }
};

TEST_F(ResolverWatchTest, WhatTwoLooksHaveFoundIsTold) {
  EXPECT_FALSE(look());
  host = {kSecond};
  EXPECT_FALSE(look());
  EXPECT_EQ(told(), Addresses{kFirst});
  EXPECT_TRUE(look());
  EXPECT_EQ(told(), Addresses{kSecond});
  EXPECT_EQ(watch.of_host(), Addresses{kSecond});
  EXPECT_EQ(config.networks[1].dhcp->dns.servers, Addresses{kFirst}) << "as the file says";
  EXPECT_FALSE(look());
}

TEST_F(ResolverWatchTest, AFileThatIsBeingWrittenIsNotTaken) {
  host = {};
  EXPECT_FALSE(look());
  host = {kFirst};
  EXPECT_FALSE(look());
  EXPECT_FALSE(look());
  EXPECT_EQ(told(), Addresses{kFirst});
}

TEST_F(ResolverWatchTest, LooksOnceASecond) {
  host = {kSecond};
  for (int i = 0; i < 999; ++i) EXPECT_FALSE(watch.look(now += 1ms)) << "the second look is not due";
  EXPECT_FALSE(watch.look(now += 1ms) && watch.look(now));
}

TEST_F(ResolverWatchTest, NetworksWhoseVmsAreToldNoneAreNamed) {
  EXPECT_EQ(resolver_problem(config, {}), "");
  host = {};
  look();
  EXPECT_TRUE(look());
  EXPECT_NE(resolver_problem(config, {}).find("network follows are told no resolver"), std::string::npos);
  EXPECT_EQ(resolver_problem(config, {kSecond}), "") << "the lease names one";
}

// On a directory of the test's own.
struct ResolverFiles : ::testing::Test {
  std::filesystem::path directory =
      std::filesystem::temp_directory_path() / ("resolvers-" + std::to_string(::getpid()));
  std::string etc = directory / "resolv.conf", stub = directory / "systemd.conf";

  void SetUp() override { std::filesystem::create_directory(directory); }
  void TearDown() override { std::filesystem::remove_all(directory); }
  static void write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }
  Addresses found() {
    const char* const files[] = {etc.c_str(), stub.c_str()};
    return config::first_resolvers(files);
  }
};

TEST_F(ResolverFiles, TheFirstOneWithAResolverForVmsCounts) {
  EXPECT_EQ(found(), Addresses{}) << "there are none";
  write(stub, "nameserver 192.0.2.9\n");
  EXPECT_EQ(found(), Addresses{kSecond});
  write(etc, "nameserver 127.0.0.53\nnameserver ::1\noptions edns0\n");
  EXPECT_EQ(found(), Addresses{kSecond}) << "who runs the stub says whom it asks";
  write(etc, "nameserver 192.0.2.1\n");
  EXPECT_EQ(found(), Addresses{kFirst}) << "the host does not ask a stub";
}

TEST_F(ResolverFiles, AreFollowedThroughLinksAndRenamesAndMayBeNoFiles) {
  write(stub, "nameserver 192.0.2.1\n");
  std::filesystem::create_symlink(stub, etc);
  EXPECT_EQ(found(), Addresses{kFirst});
  write(directory / "new", "nameserver 192.0.2.9\n");
  std::filesystem::rename(directory / "new", etc);
  EXPECT_EQ(found(), Addresses{kSecond});
  std::filesystem::remove(etc);
  std::filesystem::create_directory(etc);
  EXPECT_EQ(found(), Addresses{kFirst});
}

}  // namespace
}  // namespace vmnat::control
