// SPDX-License-Identifier: Apache-2.0
// Several uplinks: what the file says of them, every line that is said about bad ones, and what a reload takes over.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/ids.h"
#include "control/config/dump.h"
#include "control/config/reload.h"
#include "tests/support/config_text.h"

namespace vmnat::config {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr const char* kTwo =
    "uplinks:\n"
    "- {name: wan1, device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1, probe: 198.51.100.1}\n"
    "- {name: wan2, device: eth1, address: dhcp, networks: [b]}\n"
    "networks: [{name: a, address: 192.168.122.1/24}, {name: b, address: 192.168.5.1/24}]\n";

// The file with another second uplink.
std::string with_second(const std::string& keys) {
  return "uplinks:\n- {name: wan1, device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1}\n- {" + keys +
         "}\nnetworks: [{name: a, address: 192.168.122.1/24}]\n";
}

Config loaded(const std::string& text) {
  const auto config = load_text(text);
  if (config) return *config;
  ADD_FAILURE() << problems_of(config).at(0);
  return {};
}

TEST(Uplinks, HaveTheKeysOfTheOnlyOneAndTheirOwn) {
  const Config config = loaded(kTwo);
  ASSERT_EQ(uplink_count(config), 2u);
  EXPECT_EQ(uplink_name(config, 0), "wan1");
  EXPECT_EQ(net::to_string(uplink_at(config, 0).address.value()), "203.0.113.2/24");
  EXPECT_EQ(probe_of(config, 0), net::Ipv4Addr::of(198, 51, 100, 1));
  EXPECT_EQ(uplink_at(config, 1).device.name, "eth1");
  EXPECT_FALSE(uplink_at(config, 1).address.has_value());
  EXPECT_EQ(probe_of(config, 1), std::nullopt);
  EXPECT_EQ(uplink_at(config, 1).mtu, 1500);
}

TEST(Uplinks, AreNumberedInTheOrderOfTheFileAndTheFirstOneStandsForAll) {
  const Config config = loaded(kTwo);
  EXPECT_EQ(config.uplink, static_cast<const Uplink&>(config.uplinks[0]));
}

TEST(Uplinks, ANetworkThatNoListNamesPrefersTheFirst) {
  const Config config = loaded(kTwo);
  EXPECT_EQ(preferred_uplink(config, "a"), 0u);
  EXPECT_EQ(preferred_uplink(config, "b"), 1u);
}

TEST(Uplinks, ANetworkWithoutAddressesHasNoneOfItsOwn) {
  EXPECT_TRUE(loaded(kTwo).networks[0].nat.addresses.empty());
}

TEST(Uplinks, TheOnlyOneIsCalledUplink) {
  const Config config = loaded(kUplink + kNetworks);
  EXPECT_EQ(uplink_count(config), 1u);
  EXPECT_EQ(uplink_name(config, 0), "uplink");
  EXPECT_EQ(preferred_uplink(config, "a"), 0u);
  EXPECT_EQ(config.networks[0].nat.addresses.size(), 1u);
}

TEST(Uplinks, AreTheSameAfterBeingWrittenAndReadAgain) {
  const Config config = loaded(kTwo);
  EXPECT_EQ(loaded(dump_config(config)), config) << dump_config(config);
}

TEST(Uplinks, AreRefusedWhereTheyAreWrong) {
  const struct {
    const char* says;
    std::string yaml;
    std::vector<std::string> problems;
  } kCases[] = {
      {"both", kUplink + kTwo, {"3:3: uplinks: they stand in place of uplink; give one of the two"}},
      {"none", "uplinks: []\n" + kNetworks, {"1:1: key 'uplink' is missing in the file"}},
      {"not a list", "uplinks: wan1\n" + kNetworks, {"1:10: uplinks: must be a list, not 'wan1'"}},
      {"without a name",
       with_second("device: eth1, address: dhcp"),
       {"3:3: key 'name' is missing in 'uplinks[1]'"}},
      {"one name twice",
       with_second("name: wan1, device: eth1, address: dhcp"),
       {"3:10: name: uplink 'wan1' is already used at line 2"}},
      {"a network's name",
       with_second("name: a, device: eth1, address: dhcp"),
       {"4:19: name: 'a' is the name of an uplink"}},
      {"one device twice",
       with_second("name: wan2, device: eth0, address: dhcp"),
       {"3:24: device: eth0 is already used at line 2"}},
      {"one address twice",
       with_second("name: wan2, device: eth1, address: 203.0.113.2/28, gateway: 203.0.113.1"),
       {"3:39: address: 203.0.113.2 is already used at line 2"}},
      {"no gateway",
       with_second("name: wan2, device: eth1, address: 198.51.100.2/24"),
       {"3:3: key 'gateway' is missing in 'uplinks[1]'"}},
      {"an unknown network",
       with_second("name: wan2, device: eth1, address: dhcp, networks: [b]"),
       {"3:56: networks: there is no network 'b'"}},
      {"one network twice",
       with_second("name: wan2, device: eth1, address: dhcp, networks: [a, a]"),
       {"3:59: networks: network 'a' is already used at line 3"}},
      {"its own address as probe",
       with_second("name: wan2, device: eth1, address: dhcp, probe: 203.0.113.2"),
       {"3:52: probe: 203.0.113.2 is uplink 'wan1''s own address"}},
      {"a VM's address as probe",
       with_second("name: wan2, device: eth1, address: dhcp, probe: 192.168.122.9"),
       {"3:52: probe: 192.168.122.9 is within network 'a'"}},
      {"overlapping a network",
       with_second("name: wan2, device: eth1, address: 192.168.122.7/30, gateway: 192.168.122.6"),
       {"3:39: address: 192.168.122.7 is the broadcast address of 192.168.122.4/30",
        "4:31: address: 192.168.122.1/24 contains uplink 'wan2''s gateway 192.168.122.6",
        "4:31: address: 192.168.122.1/24 overlaps uplink 'wan2''s 192.168.122.7/30"}},
  };
  for (const auto& [says, yaml, problems] : kCases) EXPECT_EQ(problems_of(load_text(yaml)), problems) << says;
}

TEST(Uplinks, AnAddressOfOneIsInNoPool) {
  const auto refused = load_text(
      "uplinks: [{name: wan1, device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1}]\n"
      "networks: [{name: a, address: 192.168.122.1/24, nat: {addresses: [203.0.113.2]}}]\n");
  EXPECT_THAT(
      problems_of(refused),
      ElementsAre("2:67: addresses: 203.0.113.2 includes uplink 'wan1''s own address 203.0.113.2, which "
                  "networks without nat.addresses have while they are on it"));
}

TEST(Uplinks, AreEightAtMost) {
  std::string yaml = "uplinks:\n";
  for (std::size_t i = 0; i <= kMostUplinks; ++i)
    yaml += "- {name: w" + std::to_string(i) + ", device: eth" + std::to_string(i) + ", address: dhcp}\n";
  EXPECT_THAT(problems_of(load_text(yaml + kNetworks)),
              ElementsAre("10:3: uplinks: there is room for 8; this one is too many"));
}

TEST(UplinksReload, TakesOverWhatIsLiveOfEach) {
  const Config running = loaded(kTwo);
  Config wanted = running;
  wanted.uplinks[0].mtu = 1400;
  wanted.uplinks[0].probe.reset();
  wanted.uplinks[1].networks = {"a"};
  const auto changes = control::compare(running, wanted);
  EXPECT_THAT(changes.live, ElementsAre("uplinks.wan1.mtu is now 1400", "uplinks.wan1.probe is now none",
                                        "uplinks.wan2.networks has changed"));
  EXPECT_THAT(changes.restart, IsEmpty());
}

TEST(UplinksReload, NeedsARestartForOthersThanThereAre) {
  const Config running = loaded(kTwo);
  Config wanted = running;
  std::swap(wanted.uplinks[0], wanted.uplinks[1]);
  EXPECT_THAT(control::compare(running, wanted).restart, ElementsAre("uplinks"));
  wanted = running;
  wanted.uplinks[1].device.name = "eth7";
  EXPECT_THAT(control::compare(running, wanted).restart, ElementsAre("uplinks.wan2.device"));
  EXPECT_THAT(control::compare(running, loaded(kUplink + kNetworks)).restart, testing::Contains("uplinks"));
}

}  // namespace
}  // namespace vmnat::config
