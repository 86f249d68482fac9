// SPDX-License-Identifier: Apache-2.0
// What each command wishes for, and what it says where that makes no sense.
#include "control/changes/edit_request.h"

#include <gmock/gmock.h>

#include "tests/control/changes/changed_text.h"

namespace vmnat::control {
namespace {

using Arguments = std::map<std::string, std::string>;

config::Document two_pools() {
  return file_document(R"(uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1}
networks:
  - name: red
    address: 192.168.122.1/24
    ports: [{name: vm1, vhost_user: /run/vm1.sock}]
    nat: {addresses: [203.0.113.16-203.0.113.19], forwards: [{protocol: tcp, port: 80, to: 192.168.122.9:80}]}
  - name: blue
    address: 192.168.5.1/24
    nat: {addresses: [203.0.113.19, 203.0.113.20], forwards: [{protocol: udp, port: 80, to: 192.168.5.9:80}]}
  - {name: alone, address: 192.168.6.1/24, forward: none}
)");
}

Result<std::vector<Wish>> wishes(const std::string& command, const Arguments& arguments,
                                 const config::Document& document = two_pools(),
                                 const Overlay& overlay = {}) {
  return wishes_of({.command = command, .arguments = arguments}, document, overlay);
}

TEST(EditRequest, WishesForWhatTheCommandSays) {
  const struct {
    const char* command;
    Arguments arguments;
    std::vector<std::string> wished;  // "port vm9 of red", "no port vm9 of red"
  } kCases[] = {
      {"port-add", {{"name", "vm9"}, {"network", "red"}, {"device", "veth9"}}, {"port vm9 of red"}},
      {"port-del", {{"name", "vm1"}}, {"no port vm1 of red"}},
      {"network-add", {{"text", "name: lab\naddress: 10.9.0.1/24\n"}, {"file", "f"}}, {"network lab of lab"}},
      {"network-del", {{"name", "red"}}, {"no network red of red"}},
      {"forward-add",
       {{"protocol", "udp"}, {"external", "53"}, {"to", "192.168.5.2:53"}},
       {"forward udp 53 of blue"}},
      {"forward-add",
       {{"protocol", "tcp"}, {"external", "203.0.113.17:80"}, {"to", "192.168.122.2:80"}, {"network", "red"}},
       {"forward tcp 203.0.113.17:80 of red"}},
      {"forward-add",
       {{"protocol", "tcp"},
        {"external", "8000-8099"},
        {"to", "192.168.5.2:53,192.168.5.3:53"},
        {"from", "198.51.100.0/24"}},
       {"forward tcp 8000-8099 from 198.51.100.0/24 of blue"}},
      {"forward-del", {{"protocol", "udp"}, {"external", "80"}}, {"no forward udp 80 of blue"}},
      {"pool-add", {{"address", "203.0.113.7"}, {"network", "red"}}, {"pool address 203.0.113.7 of red"}},
      {"pool-drain", {{"address", "203.0.113.17"}}, {"drain of pool address 203.0.113.17 of red"}},
      {"pool-del",
       {{"address", "203.0.113.20"}},
       {"no drain of pool address 203.0.113.20 of blue", "no pool address 203.0.113.20 of blue"}},
      {"pool-del",
       {{"address", "203.0.113.19"}, {"network", "blue"}},
       {"no drain of pool address 203.0.113.19 of blue", "no pool address 203.0.113.19 of blue"}},
  };
  for (const auto& [command, arguments, wished] : kCases) {
    const auto found = wishes(command, arguments);
    ASSERT_TRUE(found) << command << ": " << to_string(found.error());
    std::vector<std::string> told;
    for (const Wish& wish : *found)
      told.push_back((wish.value ? "" : "no ") + to_string(wish.id) + " of " + wish.id.network);
    EXPECT_EQ(told, wished) << command;
  }
}

TEST(EditRequest, APortHasTheKeysThatAreGiven) {
  const auto found = wishes("port-add", {{"name", "vm9"},
                                         {"network", "red"},
                                         {"vhost_user", "/run/vm9.sock"},
                                         {"mode", "server"},
                                         {"queues", "2"},
                                         {"mac", "52:54:00:aa:00:09"},
                                         {"address", "192.168.122.9"},
                                         {"migrates_from", "vm1"}});
  ASSERT_TRUE(found);
  EXPECT_TRUE(same_content(*(*found)[0].value, map_node({{"name", "vm9"},
                                                         {"vhost_user", "/run/vm9.sock"},
                                                         {"mode", "server"},
                                                         {"queues", "2"},
                                                         {"mac", "52:54:00:aa:00:09"},
                                                         {"address", "192.168.122.9"},
                                                         {"migrates_from", "vm1"}})));
}

TEST(EditRequest, ALimitOfAPortIsReadAsInTheFile) {
  const auto found = wishes("port-add", {{"name", "vm9"},
                                         {"network", "red"},
                                         {"device", "veth9"},
                                         {"limit", "{out: {rate: 100M, burst: 64K}}"}});
  ASSERT_TRUE(found);
  const auto* const limit = find_key(*(*found)[0].value, "limit");
  ASSERT_NE(limit, nullptr);
  EXPECT_TRUE(same_content(*limit, *config::read_yaml("out: {burst: 64K, rate: 100M}")));
  EXPECT_EQ(wishes("port-add", {{"name", "vm9"}, {"network", "red"}, {"device", "x"}, {"limit", "{out: ["}})
                .error()
                .what,
            "limit: YAML: end of sequence flow not found");
}

TEST(EditRequest, AnAddressThatIsDrainedIsUsedAgain) {
  config::Document document = two_pools();
  const Edit drain{.id = {Thing::Drain, "red", "203.0.113.17"}, .adds = config::scalar_node("203.0.113.17")};
  ASSERT_EQ(apply(drain, config::Origin::Script, document), std::nullopt);
  const auto found = wishes("pool-add", {{"address", "203.0.113.17"}, {"network", "red"}}, document);
  ASSERT_TRUE(found) << to_string(found.error());
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ((*found)[0].id, drain.id);
  EXPECT_FALSE((*found)[0].value);
  EXPECT_EQ(wishes("pool-drain", {{"address", "203.0.113.17"}}, document).error().what,
            "drain of pool address 203.0.113.17 is there already, by a script");
}

TEST(EditRequest, TheUplinksAddressIsThePoolThatIsNotNamed) {
  const auto document = file_document();
  EXPECT_TRUE(wishes("pool-del", {{"address", "203.0.113.2"}, {"network", "blue"}}, document));
  EXPECT_EQ(wishes("pool-add", {{"address", "203.0.113.2"}, {"network", "blue"}}, document).error().what,
            "pool address 203.0.113.2 is there already, by the configuration file (line 1)");
}

TEST(EditRequest, SaysWhatStandsAgainstIt) {
  const struct {
    const char* command;
    Arguments arguments;
    const char* error;
  } kCases[] = {
      {"port-add",
       {{"name", "vm1"}, {"network", "blue"}, {"device", "x"}},
       "port vm1 is there already, by the configuration file (line 5)"},
      {"port-add", {{"name", "vm9"}, {"network", "green"}, {"device", "x"}}, "there is no network green"},
      {"port-add", {{"name", "vm9"}, {"device", "x"}}, "network: is missing"},
      {"port-add", {{"name", ""}, {"network", "red"}}, "name: is missing"},
      {"port-add",
       {{"name", "vm9"}, {"network", "red"}, {"guard", "off"}},
       "guard: is not an argument of this command"},
      {"port-del", {{"name", "vm9"}}, "there is no port vm9"},
      {"network-add",
       {{"text", "name: ["}, {"file", "lab.yaml"}},
       "lab.yaml:1:1: YAML: end of sequence flow not found"},
      {"network-add",
       {{"text", "- 5"}, {"file", "lab.yaml"}},
       "lab.yaml:1:1: must be one network, a map with a name"},
      {"network-add",
       {{"text", "name: red"}, {"file", "f"}},
       "network red is there already, by the configuration file (line 3)"},
      {"network-del", {{"name", "green"}}, "there is no network green"},
      {"forward-add",
       {{"protocol", "icmp"}, {"external", "5"}, {"to", "192.168.5.2:53"}},
       "'icmp 5' is no forward: write tcp or udp, and PORT or ADDRESS:PORT"},
      {"forward-add",
       {{"protocol", "tcp"}, {"external", "203.0.113.7:"}, {"to", "192.168.5.2:53"}},
       "'tcp 203.0.113.7:' is no forward: write tcp or udp, and PORT or ADDRESS:PORT"},
      {"forward-add",
       {{"protocol", "tcp"}, {"external", "81"}, {"to", "10.0.0.1:80"}},
       "to: 10.0.0.1 is within no network"},
      {"forward-add",
       {{"protocol", "tcp"}, {"external", "80"}, {"to", "192.168.122.7:80"}},
       "forward tcp 80 is there already, by the configuration file (line 6)"},
      {"forward-del", {{"protocol", "tcp"}, {"external", "81"}}, "there is no forward tcp 81"},
      {"forward-del",
       {{"protocol", "tcp"}, {"external", "80"}, {"network", "blue"}},
       "network blue has no forward tcp 80"},
      {"pool-add",
       {{"address", "203.0.113.7"}},
       "there are several networks with nat (red, blue): say which by network"},
      {"pool-add",
       {{"address", "203.0.113"}, {"network", "red"}},
       "address: '203.0.113' is not an IPv4 address (write 192.168.122.1)"},
      {"pool-del",
       {{"address", "203.0.113.19"}},
       "several networks have pool address 203.0.113.19 (red, blue): say which by network"},
      {"pool-del", {{"address", "203.0.113.7"}}, "there is no pool address 203.0.113.7"},
      {"pool-drain",
       {{"address", "203.0.113.7"}, {"network", "red"}},
       "network red has no pool address 203.0.113.7"},
      {"pool-drain", {{"address", "203.0.113.17"}, {"network", "green"}}, "there is no network green"},
      {"flush", {}, "'flush' edits nothing"},
  };
  for (const auto& [command, arguments, error] : kCases) {
    const auto found = wishes(command, arguments);
    ASSERT_FALSE(found) << command << " expected: " << error;
    EXPECT_EQ(to_string(found.error()), error) << command;
  }
}

TEST(EditRequest, SaysThatAScriptHasTakenItAway) {
  const Overlay overlay{.persistent = {{.id = port_id("vm1"), .removes = true}}, .until_restart = {}};
  config::Document document = two_pools();
  ASSERT_TRUE(lay_over(overlay, document).empty());
  EXPECT_EQ(wishes("port-del", {{"name", "vm1"}}, document, overlay).error().what,
            "there is no port vm1: a script has taken away the one that was there");
}

TEST(EditRequest, SaysWhichScriptsPortItIs) {
  const Edit vm9{.id = port_id("vm9"), .adds = map_node({{"name", "vm9"}, {"device", "veth9"}})};
  for (const auto& [origin, by] : {std::pair{config::Origin::Script, "by a script"},
                                   {config::Origin::PersistentScript, "by a script (persistent)"}}) {
    config::Document document = two_pools();
    ASSERT_EQ(apply(vm9, origin, document), std::nullopt);
    EXPECT_EQ(
        wishes("port-add", {{"name", "vm9"}, {"network", "red"}, {"device", "x"}}, document).error().what,
        std::string{"port vm9 is there already, "} + by);
  }
}

}  // namespace
}  // namespace vmnat::control
