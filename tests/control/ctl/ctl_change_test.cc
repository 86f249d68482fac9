// SPDX-License-Identifier: Apache-2.0
// The commands that change the configuration: what vmnatctl sends, refuses and prints.
#include <fstream>
#include <sstream>

#include "control/ctl/command_line.h"
#include "tests/support/admin_fixture.h"
#include "tests/support/vmnatctl_fixture.h"

namespace vmnat::ctl {
namespace {

using admin::Answer;
using nlohmann::json;

// What the daemon is sent; a failure of the test where the command line is refused.
CommandLine parsed(const std::vector<std::string>& arguments) {
  std::ostringstream out, err;
  const auto line = parse_command_line(arguments, out, err);
  if (const auto* good = std::get_if<CommandLine>(&line)) return *good;
  ADD_FAILURE() << err.str();
  return {};
}

// What is said about a command line that is refused.
std::string refused(const std::vector<std::string>& arguments) {
  std::ostringstream out, err;
  const auto line = parse_command_line(arguments, out, err);
  const auto* const exit = std::get_if<Exit>(&line);
  EXPECT_TRUE(exit != nullptr && *exit == Exit::Usage) << "accepted: " << arguments.at(0);
  return err.str();
}

TEST(ChangeCommands, AreSentWithTheirArguments) {
  const struct {
    std::vector<std::string> line;
    const char* command;
    const char* arguments;
  } kCases[] = {
      {{"port", "add", "vm9", "--network", "red", "--vhost-user", "/run/vm9.sock", "--mode", "server",
        "--queues", "2", "--mac", "52:54:00:aa:00:09", "--address", "192.168.122.9", "--persistent"},
       "port-add",
       R"({"name":"vm9","network":"red","vhost_user":"/run/vm9.sock","mode":"server","queues":"2",
           "mac":"52:54:00:aa:00:09","address":"192.168.122.9","persistent":true})"},
      {{"port", "add", "vm8", "--network", "red", "--device", "veth8", "--group", "web"},
       "port-add",
       R"({"name":"vm8","network":"red","device":"veth8","group":"web"})"},
      {{"port", "add", "lab2", "--network", "red", "--device", "0000:3b:00.1", "--vlan", "10"},
       "port-add",
       R"({"name":"lab2","network":"red","device":"0000:3b:00.1","vlan":"10"})"},
      {{"port", "add", "vm1b", "--network", "red", "--vhost-user", "/b", "--migrates-from", "vm1"},
       "port-add",
       R"({"name":"vm1b","network":"red","vhost_user":"/b","migrates_from":"vm1"})"},
      {{"port", "add", "vm9", "--network", "red", "--device", "veth9"},
       "port-add",
       R"({"name":"vm9","network":"red","device":"veth9"})"},
      {{"port", "del", "vm9"}, "port-del", R"({"name":"vm9"})"},
      {{"network", "del", "lab", "--persistent"}, "network-del", R"({"name":"lab","persistent":true})"},
      {{"forward", "add", "tcp", "203.0.113.7:8080", "192.168.122.9:80", "--network", "red"},
       "forward-add",
       R"({"protocol":"tcp","external":"203.0.113.7:8080","to":"192.168.122.9:80","network":"red"})"},
      {{"forward", "del", "udp", "53"}, "forward-del", R"({"protocol":"udp","external":"53"})"},
      {{"forward", "add", "tcp", "8000-8099", "192.168.122.9:80,192.168.122.10:80", "--from",
        "198.51.100.0/24"},
       "forward-add",
       R"({"protocol":"tcp","external":"8000-8099","to":"192.168.122.9:80,192.168.122.10:80","from":"198.51.100.0/24"})"},
      {{"pool", "add", "203.0.113.7"}, "pool-add", R"({"address":"203.0.113.7"})"},
      {{"pool", "drain", "203.0.113.7", "--network", "red"},
       "pool-drain",
       R"({"address":"203.0.113.7","network":"red"})"},
      {{"pool", "del", "203.0.113.7"}, "pool-del", R"({"address":"203.0.113.7"})"},
      {{"reload"}, "reload", "{}"},
      {{"reload", "--dry-run"}, "reload", R"({"dry_run":true})"},
  };
  for (const auto& [line, command, arguments] : kCases) {
    const CommandLine sent = parsed(line);
    EXPECT_EQ(sent.command, command);
    EXPECT_EQ(sent.arguments, json::parse(arguments)) << command;
  }
}

TEST(ChangeCommands, ANetworkIsSentAsTheTextOfItsFile) {
  const TempDir dir;
  const std::string path = dir / "lab.yaml";
  std::ofstream(path) << "name: lab\naddress: 10.9.0.1/24\n";
  const CommandLine sent = parsed({"network", "add", path});
  EXPECT_EQ(sent.command, "network-add");
  EXPECT_EQ(sent.arguments, json({{"file", path}, {"text", "name: lab\naddress: 10.9.0.1/24\n"}}));
  EXPECT_EQ(refused({"network", "add", dir / "nothing"}),
            "network add: " + (dir / "nothing") + " cannot be read\n");
}

TEST(ChangeCommands, AreRefusedWhereTheyAreWrong) {
  const struct {
    std::vector<std::string> line;
    const char* says;
  } kCases[] = {
      {{"port"}, "subcommand"},
      {{"port", "add", "vm9", "--device", "veth9"}, "--network is required"},
      {{"port", "add", "vm9", "--network", "red"}, "give --vhost-user or --device"},
      {{"port", "add", "vm9", "--network", "red", "--device", "x", "--vhost-user", "/x"}, "excludes"},
      {{"port", "add", "vm9", "--network", "red", "--device", "x", "--queues", "2"}, "requires --vhost-user"},
      {{"port", "add", "vm9", "--network", "red", "--device", "x", "--migrates-from", "vm1"},
       "requires --vhost-user"},
      {{"port", "add", "vm9", "--network", "red", "--vhost-user", "/x", "--queues", "65"},
       "between 1 and 64"},
      {{"port", "add", "vm9", "--network", "red", "--vhost-user", "/x", "--mode", "both"},
       "one of: client, server"},
      {{"port", "add", "vm9", "--network", "red", "--device", "x", "--vlan", "4095"}, "between 1 and 4094"},
      {{"port", "add", "vm9", "--network", "red", "--vhost-user", "/x", "--vlan", "5"}, "requires --device"},
      {{"port", "add", "vm9", "--network", "red", "--device", "x", "--mac", "52:54"}, "'52:54'"},
      {{"port", "add", "vm9", "--network", "red", "--device", "x", "--address", "1.2.3"}, "'1.2.3'"},
      {{"port", "del"}, "NAME is required"},
      {{"network", "add"}, "FILE is required"},
      {{"forward", "add", "icmp", "80", "192.168.122.9:80"}, "'icmp' is not tcp or udp"},
      {{"forward", "add", "tcp", "80000", "192.168.122.9:80"}, "'80000' is not PORT or ADDRESS:PORT"},
      {{"forward", "add", "tcp", "1.2.3:80", "192.168.122.9:80"}, "'1.2.3:80' is not PORT or ADDRESS:PORT"},
      {{"forward", "add", "tcp", "80", "192.168.122.9"}, "'192.168.122.9'"},
      {{"forward", "add", "tcp", "90-80", "192.168.122.9:80"}, "'90-80' is not PORT or ADDRESS:PORT"},
      {{"forward", "add", "tcp", "80", "192.168.122.9:80,5"}, "'5' is not an address with a port"},
      {{"forward", "add", "tcp", "80", "192.168.122.9:80", "--from", "10.0.0.1/8"}, "bits set beyond"},
      {{"forward", "add", "tcp", "80"}, "TO is required"},
      {{"forward", "del", "tcp", "80", "192.168.122.9:80"}, "not expected"},
      {{"pool", "add"}, "ADDRESS is required"},
      {{"pool", "give", "203.0.113.7"}, "A subcommand is required"},
      {{"pool", "drain", "203.0.113"}, "'203.0.113'"},
      {{"reload", "now"}, "now"},
  };
  for (const auto& [line, says] : kCases) {
    const std::string told = refused(line);
    EXPECT_NE(told.find(says), std::string::npos) << told << " does not have: " << says;
  }
}

struct ChangeAnswers : VmnatctlTest {
  admin::RunningServer server{path};

  void answer_preview(const json& preview) {
    server.answer("reload", [preview](const json& arguments) -> control::Result<Answer> {
      EXPECT_EQ(arguments, json({{"dry_run", true}}));
      return Answer::object(preview);
    });
  }
};

TEST_F(ChangeAnswers, TellWhatHasChanged) {
  server.answer("port-add", [](const json&) {
    return Answer::object({{"changed", {"network red: port vm9 added"}}, {"persistent", false}});
  });
  EXPECT_EQ(run({"port", "add", "vm9", "--network", "red", "--device", "veth9"}), 0);
  EXPECT_EQ(out, "network red: port vm9 added\n");
  EXPECT_EQ(run({"--json", "port", "add", "vm9", "--network", "red", "--device", "veth9"}), 0);
  EXPECT_EQ(json::parse(out),
            json::parse(R"({"changed":["network red: port vm9 added"],"persistent":false})"));
}

TEST_F(ChangeAnswers, ARefusalIsExitCode1) {
  server.answer("port-del", [](const json&) -> control::Result<Answer> {
    return tl::unexpected(control::Error{"", "there is no port vm9"});
  });
  EXPECT_EQ(run({"port", "del", "vm9"}), 1);
  EXPECT_EQ(err, "vmnatctl: there is no port vm9\n");
}

TEST_F(ChangeAnswers, APreviewThatCanBeAppliedIsExitCode0) {
  answer_preview({{"changed", {"network red: port vm9 added"}},
                  {"held", json::array()},
                  {"restart", json::array()},
                  {"can_be_applied", true}});
  EXPECT_EQ(run({"reload", "--dry-run"}), 0);
  EXPECT_EQ(out, "network red: port vm9 added\n");
  EXPECT_EQ(run({"--json", "reload", "--dry-run"}), 0);
  EXPECT_TRUE(json::parse(out)["can_be_applied"]);
}

TEST_F(ChangeAnswers, APreviewThatNeedsARestartIsExitCode1) {
  answer_preview({{"changed", {"network red: nat.overload is now false"}},
                  {"held", {"uplink.mtu is now 1400"}},
                  {"restart", {"uplink.mtu"}},
                  {"can_be_applied", false}});
  EXPECT_EQ(run({"reload", "--dry-run"}), 1);
  EXPECT_EQ(out,
            "network red: nat.overload is now false\nuplink.mtu is now 1400 (needs a restart)\n"
            "a reload would change nothing: these need a restart: uplink.mtu\n");
  EXPECT_EQ(run({"reload", "--dry-run", "--json"}), 1);
  EXPECT_EQ(json::parse(out)["restart"], json::array({"uplink.mtu"}));
}

TEST_F(ChangeAnswers, APreviewThatThereIsNoRoomForIsExitCode1) {
  answer_preview({{"changed", {"network red: port vm9 added"}},
                  {"held", json::array()},
                  {"restart", json::array()},
                  {"refused", "networks: port vm9: 1023 ports are in use"},
                  {"can_be_applied", false}});
  EXPECT_EQ(run({"reload", "--dry-run"}), 1);
  EXPECT_EQ(out,
            "network red: port vm9 added\n"
            "a reload would change nothing: networks: port vm9: 1023 ports are in use\n");
}

TEST_F(ChangeAnswers, APreviewOfNothingSaysSo) {
  answer_preview({{"changed", json::array()},
                  {"held", json::array()},
                  {"restart", json::array()},
                  {"can_be_applied", true}});
  EXPECT_EQ(run({"reload", "--dry-run"}), 0);
  EXPECT_EQ(out, "nothing would change\n");
}

}  // namespace
}  // namespace vmnat::ctl
