// SPDX-License-Identifier: Apache-2.0
// Edits on a document: what the Config that comes of it has.
#include "control/changes/edit.h"

#include <gmock/gmock.h>

#include "control/config/keys_nat.h"
#include "control/config/values.h"
#include "tests/control/changes/changed_text.h"

namespace vmnat::control {
namespace {

using config::Config;
using config::Origin;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

Config after(const std::vector<Edit>& edits, const std::string& text = kFileText) {
  config::Document document = file_document(text);
  for (const Edit& edit : edits) EXPECT_EQ(apply(edit, Origin::Script, document), std::nullopt);
  return config_of(document);
}

std::vector<std::string> addresses_of(const Config& config, std::size_t network = 0) {
  std::vector<std::string> texts;
  for (const auto& range : config.networks[network].nat.addresses) texts.push_back(config::to_text(range));
  return texts;
}

Edit removal(Thing thing, const std::string& name, const std::string& network = "red") {
  return {.id = {thing, network, name}, .removes = true};
}
Edit addition(Thing thing, const std::string& name, config::Node value, const std::string& network = "red") {
  return {.id = {thing, network, name}, .adds = std::move(value)};
}
Edit address(const std::string& text, const std::string& network = "red") {
  return addition(Thing::Address, text, config::scalar_node(text), network);
}

TEST(Edit, APortComesWithTheDefaultsOfAnyPort) {
  const Config config =
      after({addition(Thing::Port, "vm9", map_node({{"name", "vm9"}, {"device", "veth9"}}))});
  EXPECT_THAT(port_names(config), ElementsAre("vm1", "vm2", "vm9"));
  EXPECT_EQ(config.networks[0].ports[2].guard, config::PortGuard::Off) << "a device's default";
}

TEST(Edit, APortComesToANetworkThatHasNone) {
  const Config config =
      after({addition(Thing::Port, "vm9", map_node({{"name", "vm9"}, {"device", "veth9"}}), "blue")});
  EXPECT_THAT(port_names(config, 1), ElementsAre("vm9"));
}

TEST(Edit, APortGoes) {
  EXPECT_THAT(port_names(after({removal(Thing::Port, "vm1")})), ElementsAre("vm2"));
}

TEST(Edit, APortIsReplaced) {
  const Edit edit{.id = port_id("vm1"),
                  .removes = true,
                  .adds = map_node({{"name", "vm1"}, {"vhost_user", "/run/other.sock"}, {"queues", "2"}})};
  const Config config = after({edit});
  EXPECT_THAT(port_names(config), ElementsAre("vm2", "vm1"));
  EXPECT_EQ(config.networks[0].ports[1].vhost_user, "/run/other.sock");
  EXPECT_EQ(config.networks[0].ports[1].queues, 2u);
}

TEST(Edit, NetworksComeAndGo) {
  const auto lab = map_node({{"name", "lab"}, {"address", "10.9.0.1/24"}});
  const Config config =
      after({addition(Thing::Network, "lab", lab, "lab"), removal(Thing::Network, "red", "red")});
  ASSERT_EQ(config.networks.size(), 2u);
  EXPECT_EQ(config.networks[0].name, "blue");
  EXPECT_EQ(config.networks[1].name, "lab");
}

TEST(Edit, ForwardsAreFoundHoweverTheyAreWritten) {
  EXPECT_THAT(after({removal(Thing::Forward, "tcp 8080")}).networks[0].nat.forwards, IsEmpty());
  const std::string text = R"(uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1}
networks:
  - name: red
    address: 192.168.122.1/24
    nat: {forwards: [{to: "192.168.122.10:80", port: "08080", address: all, protocol: tcp}]}
)";
  EXPECT_THAT(after({removal(Thing::Forward, "tcp 8080")}, text).networks[0].nat.forwards, IsEmpty());
}

TEST(Edit, AForwardComesToANetworkWithoutASectionNat) {
  const auto value = map_node({{"protocol", "udp"}, {"port", "53"}, {"to", "192.168.5.2:53"}});
  const Config config = after({addition(Thing::Forward, "udp 53", value, "blue")});
  ASSERT_EQ(config.networks[1].nat.forwards.size(), 1u);
  EXPECT_EQ(config.networks[1].nat.forwards[0].port, config::PortRange::of(53, 53));
}

TEST(Edit, ForwardsOfRangesAndForSomeRemotesHaveNamesOfTheirOwn) {
  const std::string text = R"(uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1}
networks:
  - name: red
    address: 192.168.122.1/24
    nat:
      forwards:
        - {protocol: tcp, port: 8000-8099, to: "192.168.122.10:80"}
        - {protocol: tcp, port: 22, to: "192.168.122.10:22", from: 198.51.100.7/32}
        - {protocol: tcp, port: 22, to: ["192.168.122.10:22", "192.168.122.11:22"]}
)";
  for (const char* name : {"tcp 8000-8099", "tcp 22 from 198.51.100.7", "tcp 22"}) {
    const auto left = after({removal(Thing::Forward, name)}, text).networks[0].nat.forwards;
    ASSERT_EQ(left.size(), 2u) << name;
    for (const config::PortForward& forward : left)
      EXPECT_NE(config::kNamed<config::PortForward>.name(forward), name);
  }
  EXPECT_EQ(
      after({removal(Thing::Forward, "tcp 22 from 198.51.100.8")}, text).networks[0].nat.forwards.size(), 3u);
}

TEST(Edit, AnAddressIsCutOutOfItsRange) {
  const struct {
    const char* gone;
    std::vector<std::string> left;
  } kCases[] = {
      {"203.0.113.2", {"203.0.113.16-203.0.113.19"}},
      {"203.0.113.16", {"203.0.113.2", "203.0.113.17-203.0.113.19"}},
      {"203.0.113.17", {"203.0.113.2", "203.0.113.16", "203.0.113.18-203.0.113.19"}},
      {"203.0.113.19", {"203.0.113.2", "203.0.113.16-203.0.113.18"}},
      {"203.0.113.20", {"203.0.113.2", "203.0.113.16-203.0.113.19"}},  // of no range
  };
  for (const auto& [gone, left] : kCases)
    EXPECT_EQ(addresses_of(after({removal(Thing::Address, gone)})), left) << gone;
}

TEST(Edit, AnAddressComesToThePoolThatStoodForTheUplinks) {
  EXPECT_THAT(addresses_of(after({address("203.0.113.7", "blue")}), 1),
              ElementsAre("203.0.113.2", "203.0.113.7"));
  const Config config =
      after({address("203.0.113.7", "blue"), removal(Thing::Address, "203.0.113.2", "blue")});
  EXPECT_THAT(addresses_of(config, 1), ElementsAre("203.0.113.7"));
}

TEST(Edit, APoolThatDhcpTellsCannotBeAddedTo) {
  config::Document document = file_document(
      "uplink: {device: eth0, address: dhcp}\nnetworks: [{name: red, address: 192.168.122.1/24}]\n");
  EXPECT_EQ(apply(address("203.0.113.7"), Origin::Script, document),
            "network red has no pool of its own: it uses the address that DHCP gives the uplink");
  EXPECT_TRUE(config_of(document).networks[0].nat.addresses.empty());
}

TEST(Edit, WhatTheFileHasTooIsNotAdded) {
  config::Document document = file_document();
  const auto vm1 = map_node({{"name", "vm1"}, {"vhost_user", "/run/vm1.sock"}});
  for (const Edit& edit : {addition(Thing::Port, "vm1", vm1), address("203.0.113.17"),
                           addition(Thing::Network, "blue", map_node({{"name", "blue"}}), "blue")})
    EXPECT_EQ(apply(edit, Origin::Script, document), "the configuration file has it, too");
  EXPECT_EQ(config_of(document), config_of(file_document()));
}

TEST(Edit, NothingIsAddedToANetworkThatIsNotThere) {
  config::Document document = file_document();
  EXPECT_EQ(
      apply(addition(Thing::Port, "vm9", map_node({{"name", "vm9"}}), "green"), Origin::Script, document),
      "there is no network green");
}

TEST(Edit, WhatIsNotThereIsTakenAwayInSilence) {
  EXPECT_EQ(after({removal(Thing::Port, "vm9"), removal(Thing::Port, "vm1", "green"),
                   removal(Thing::Forward, "udp 8080"), removal(Thing::Network, "green", "green")}),
            config_of(file_document()));
}

TEST(Edit, ProblemsAreTheScripts) {
  config::Document document = file_document();
  const auto clash = map_node({{"name", "vm9"}, {"vhost_user", "/run/vm1.sock"}, {"queues", "65"}});
  ASSERT_EQ(apply(addition(Thing::Port, "vm9", clash), Origin::Script, document), std::nullopt);
  const auto loaded = load_document(document, config::fixed_resolvers());
  ASSERT_FALSE(loaded);
  std::vector<std::string> lines;
  for (const auto& problem : loaded.error()) lines.push_back(to_string(problem));
  EXPECT_THAT(lines,
              ElementsAre("port vm9 (by a script): queues: must be between 1 and 64, not 65",
                          "port vm9 (by a script): vhost_user: socket /run/vm1.sock is already used at "
                          "line 6 of /etc/vmnat.yaml"));
}

// The script's port stands in network red, before the file's of network green.
TEST(Edit, AFilesOwnProblemWithAScriptNamesTheScript) {
  config::Document document = file_document(
      kFileText + "  - {name: green, address: 10.0.0.1/24, ports: [{name: g1, device: veth9}]}\n");
  const Edit edit = addition(Thing::Port, "vm9", map_node({{"name", "vm9"}, {"device", "veth9"}}));
  ASSERT_EQ(apply(edit, Origin::Script, document), std::nullopt);
  const auto loaded = load_document(document, config::fixed_resolvers());
  ASSERT_FALSE(loaded);
  EXPECT_EQ(to_string(loaded.error().front()),
            "/etc/vmnat.yaml:13:68: device: veth9 is already used by port vm9 (by a script)");
}

TEST(Edit, OriginsTellTheScriptsPartsFromTheFilesAndFromDefaults) {
  config::Document document = file_document();
  const Edit vm9 = addition(Thing::Port, "vm9", map_node({{"name", "vm9"}, {"device", "veth9"}}));
  ASSERT_EQ(apply(vm9, Origin::PersistentScript, document), std::nullopt);
  ASSERT_EQ(apply(address("203.0.113.7"), Origin::Script, document), std::nullopt);
  config::Origins origins;
  auto options = config::fixed_resolvers();
  options.origins = &origins;
  const auto config = load_document(document, options);
  ASSERT_TRUE(config);
  std::map<std::string, Origin> named;
  for (const auto& [name, origin] : named_origins(*config, origins)) named[name] = origin;
  EXPECT_EQ(named.at("networks.red.ports.vm1"), Origin::File);
  EXPECT_EQ(named.at("networks.red.ports.vm9"), Origin::PersistentScript);
  EXPECT_EQ(named.at("networks.red.nat.addresses.203.0.113.7"), Origin::Script);
  EXPECT_EQ(named.at("networks.red.nat.addresses.203.0.113.16-203.0.113.19"), Origin::File);
  EXPECT_EQ(named.at("networks.red.nat.forwards.tcp 8080"), Origin::File);
  EXPECT_EQ(named.at("networks.red.mtu"), Origin::Default);
  EXPECT_EQ(named.at("networks.blue.nat.addresses"), Origin::Default);
  EXPECT_EQ(named.at("uplink.device"), Origin::File);
  EXPECT_EQ(named.at("conntrack.sessions"), Origin::Default);
}

}  // namespace
}  // namespace vmnat::control
