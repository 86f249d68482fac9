// SPDX-License-Identifier: Apache-2.0
// vmnatctl against a server that answers as vmnatd would: output, errors and exit codes.
#include <sstream>

#include "control/admin/session_filter.h"
#include "tests/support/admin_fixture.h"
#include "tests/support/vmnatctl_fixture.h"

namespace vmnat::ctl {
namespace {

using admin::Answer;
using nlohmann::json;

struct Vmnatctl : VmnatctlTest {};

// Answers `sessions` and `flush` with the arguments themselves, so a test sees what was sent.
void answer_with_arguments(admin::RunningServer& server) {
  server.answer("sessions", [](const json& arguments) -> control::Result<Answer> {
    if (const auto filter = admin::session_filter(arguments); !filter) return tl::unexpected(filter.error());
    if (arguments.contains("count")) return Answer::object({{"count", 12345}});
    return Answer::list_of(json::array({{{"network", arguments.dump()}}}));
  });
  server.answer("flush", [](const json& arguments) -> control::Result<Answer> {
    if (const auto filter = admin::session_filter(arguments, "all"); !filter)
      return tl::unexpected(filter.error());
    return Answer::object({{"flushed", 3}});
  });
}

TEST_F(Vmnatctl, PrintsListsAsTablesAndAsOneArray) {
  admin::RunningServer server(path);
  server.answer("neighbors", [](const json&) {
    return Answer::list_of(
        json::parse(R"([{"address":"10.0.0.1","age_s":1},{"address":"10.0.0.2","age_s":22}])"));
  });
  EXPECT_EQ(run({"neighbors"}), 0);
  EXPECT_EQ(out,
            "ADDRESS   MAC  NETWORK  STATE  AGE_S\n10.0.0.1  -    -        -          1\n10.0.0.2  -    -    "
            "    -         22\n");
  EXPECT_EQ(run({"--json", "neighbors"}), 0);
  EXPECT_EQ(json::parse(out),
            json::parse(R"([{"address":"10.0.0.1","age_s":1},{"address":"10.0.0.2","age_s":22}])"));
  EXPECT_EQ(run({"neighbors", "--json"}), 0) << "the option may stand after the command";
  EXPECT_EQ(json::parse(out).size(), 2u);
}

TEST_F(Vmnatctl, PrintsEmptyListsAsEmptyArrays) {
  admin::RunningServer server(path);
  server.answer("leases", [](const json&) { return Answer::list_of(json::array()); });
  EXPECT_EQ(run({"--json", "leases"}), 0);
  EXPECT_EQ(out, "[]\n");
}

TEST_F(Vmnatctl, PrintsObjects) {
  admin::RunningServer server(path);
  server.answer("counters", [](const json&) { return Answer::object({{"received", 7}}); });
  server.answer("config", [](const json&) {
    return Answer::object({{"file", "/f"}, {"yaml", "uplink:\n"}});
  });
  EXPECT_EQ(run({"counters"}), 0);
  EXPECT_EQ(out, "received  7\n");
  EXPECT_EQ(run({"--json", "counters"}), 0);
  EXPECT_EQ(json::parse(out), json({{"received", 7}}));
  EXPECT_EQ(run({"config"}), 0);
  EXPECT_EQ(out, "uplink:\n");
}

TEST_F(Vmnatctl, PassesEveryFilterToTheDaemon) {
  admin::RunningServer server(path);
  answer_with_arguments(server);
  EXPECT_EQ(run({"--json", "sessions", "--network", "a", "--port", "vm1", "--protocol", "tcp", "--internal",
                 "10.0.0.1:80", "--external", "192.0.2.1", "--remote", "9.9.9.9:53", "--state", "established",
                 "--limit", "5"}),
            0);
  const json sent = json::parse(json::parse(out).at(0).at("network").get<std::string>());
  EXPECT_EQ(sent, json::parse(R"({"network":"a","port":"vm1","protocol":"tcp","internal":"10.0.0.1:80",
    "external":"192.0.2.1","remote":"9.9.9.9:53","state":"established","limit":5})"));
  EXPECT_EQ(run({"sessions", "--format", "json"}), 0);
  EXPECT_EQ(json::parse(out).at(0).at("network"), "{}");
}

TEST_F(Vmnatctl, CountsSessions) {
  admin::RunningServer server(path);
  answer_with_arguments(server);
  EXPECT_EQ(run({"sessions", "--count"}), 0);
  EXPECT_EQ(out, "12345\n");
  EXPECT_EQ(run({"--json", "sessions", "--count", "--protocol", "udp"}), 0);
  EXPECT_EQ(json::parse(out), json({{"count", 12345}}));
}

TEST_F(Vmnatctl, WritesSessionsInConntracksFormat) {
  admin::RunningServer server(path);
  server.answer("sessions", [](const json&) {
    return Answer::list_of(
        json::parse(R"([{"protocol":"udp","internal":"10.0.0.1:5","external":"192.0.2.1:1024",
      "remote":"9.9.9.9:53","expires_s":28,"packets_in":1,"bytes_in":60}])"));
  });
  EXPECT_EQ(run({"sessions", "--format", "conntrack"}), 0);
  EXPECT_EQ(out,
            "udp      17 28 src=10.0.0.1 dst=9.9.9.9 sport=5 dport=53 "
            "src=9.9.9.9 dst=192.0.2.1 sport=53 dport=1024 packets=1 bytes=60 [ASSURED] mark=0 use=1\n");
}

TEST_F(Vmnatctl, FlushesWhatIsSelectedAndAllOnlyWhenAsked) {
  admin::RunningServer server(path);
  answer_with_arguments(server);
  EXPECT_EQ(run({"flush"}), 2);
  EXPECT_EQ(err, "flush: give a filter, or --all to end every session\n");
  EXPECT_EQ(run({"flush", "--port", "vm1"}), 0);
  EXPECT_EQ(out, "3 sessions ended\n");
  EXPECT_EQ(run({"flush", "--all"}), 0);
}

TEST_F(Vmnatctl, MakesRecipesFromThePort) {
  admin::RunningServer server(path);
  server.answer("ports", [](const json&) {
    return Answer::list_of(json::parse(R"([{"name":"vm1","socket":"/run/vm1.sock","mode":"client","queues":1},
                                           {"name":"lab0","kind":"device"}])"));
  });
  EXPECT_EQ(run({"qemu-args", "vm1"}), 0);
  EXPECT_NE(out.find("path=/run/vm1.sock,server=on,wait=off"), std::string::npos);
  EXPECT_EQ(run({"libvirt-xml", "vm1", "--mac", "52:54:00:00:00:01"}), 0);
  EXPECT_NE(out.find("<mac address='52:54:00:00:00:01'/>"), std::string::npos);
  EXPECT_EQ(run({"--json", "qemu-args", "vm1"}), 0);
  EXPECT_TRUE(json::parse(out).contains("qemu-args"));
  EXPECT_EQ(run({"qemu-args", "vm9"}), 1);
  EXPECT_EQ(err, "vmnatctl: there is no port 'vm9' (vmnatctl ports lists them)\n");
  EXPECT_EQ(run({"qemu-args", "lab0"}), 1);
  EXPECT_EQ(err, "vmnatctl: port 'lab0' is not a vhost-user port\n");
}

TEST_F(Vmnatctl, SaysWhenNoDaemonAnswers) {
  EXPECT_EQ(run({"status"}), 3);
  EXPECT_EQ(out, "");
  EXPECT_EQ(err,
            "vmnatctl: there is no socket " + path + " (is vmnatd running? its path is control.socket)\n");
}

TEST_F(Vmnatctl, GivesTheDaemonsOwnWordsOnRefusal) {
  admin::RunningServer server(path);
  EXPECT_EQ(run({"status"}), 1);
  EXPECT_EQ(err, "vmnatctl: unknown command 'status'\n");
}

TEST_F(Vmnatctl, LeavesAnArrayOpenThatBrokeOff) {
  admin::RunningServer server(path);
  server.answer("leases", [](const json&) {
    return Answer::list([n = 0](json& item) mutable {
      if (n++ == 1) throw std::runtime_error("gone");
      item = {{"address", "10.0.0.1"}};
      return admin::Pull::Item;
    });
  });
  EXPECT_EQ(run({"--json", "leases"}), 1);
  EXPECT_TRUE(json::parse(out, nullptr, false).is_discarded()) << out;
  EXPECT_EQ(err, "vmnatctl: the answer broke off: gone\n");
}

TEST_F(Vmnatctl, RefusesWrongUsageWithoutAskingTheDaemon) {
  const std::vector<std::vector<std::string>> rows = {
      {},
      {"stat"},
      {"status", "extra"},
      {"sessions", "--protocol", "sctp"},
      {"sessions", "--internal", "10.0.0"},
      {"sessions", "--remote", "10.0.0.1:70000"},
      {"sessions", "--limit", "0"},
      {"sessions", "--format", "xml"},
      {"sessions", "--count", "--format", "json"},
      {"qemu-args"},
      {"qemu-args", "vm1", "--mac", "01:00:5e:00:00:01"},
      {"qemu-args", "vm1", "--memory", "lots"},
      {"capture", "--write", "-"},
      {"capture", "--all"},
      {"capture", "--all", "--drops", "--write", "-"},
      {"capture", "--all", "--write", "-", "--filter", "udp prot 5"},
      {"capture", "--all", "--write", "-", "--buffer", "much"},
      {"trace", "--count", "0"},
      {"trace", "nonsense nonsense"},
  };
  for (const auto& arguments : rows) {
    EXPECT_EQ(run(arguments), 2) << (arguments.empty() ? "" : arguments.back());
    EXPECT_EQ(out, "");
    EXPECT_NE(err, "");
  }
  run({"sessions", "--protocol", "sctp"});
  EXPECT_NE(err.find("'sctp' is not tcp, udp, icmp or a number up to 255"), std::string::npos) << err;
}

// Answers as the daemon does: what it was asked, and the answer's pieces.
admin::Handler stream_of(json& asked, std::vector<json> items) {
  return [&asked, items = std::move(items)](const json& arguments) {
    asked = arguments;
    return Answer::stream(
        [items, next = std::size_t{0}](json& item) mutable {
          if (next == items.size()) return admin::Pull::End;
          item = items[next++];
          return admin::Pull::Item;
        },
        [] {});
  };
}

TEST_F(Vmnatctl, WritesWhatTheDaemonCaptures) {
  admin::RunningServer server(path);
  json asked;
  server.answer(
      "capture",
      stream_of(asked, {json::binary({1, 10, 0}), json::binary({2}), {{"captured", 2}, {"missed", 1}}}));
  EXPECT_EQ(run({"capture", "--port", "vm1", "--write", "-", "--filter", "ip", "--count", "7", "--snap", "60",
                 "--buffer", "1M"}),
            0);
  EXPECT_EQ(out, std::string("\1\n\0\2", 4));
  EXPECT_EQ(err, "vmnatctl: 2 frames captured, 1 missed\n");
  const json program = json::parse("[[40,0,0,12],[21,0,1,2048],[6,0,0,262144],[6,0,0,0]]");
  EXPECT_EQ(asked, (json{{"port", "vm1"},
                         {"program", program},
                         {"expression", "ip"},
                         {"count", 7},
                         {"snap", 60},
                         {"buffer", 1 << 20}}));
  EXPECT_EQ(run({"capture", "--drops", "--write", "/nowhere/at/all"}), 1);
  EXPECT_EQ(err, "vmnatctl: /nowhere/at/all: No such file or directory\n");
}

TEST_F(Vmnatctl, TellsTheWayOfAFrame) {
  admin::RunningServer server(path);
  json asked;
  const json frame = json::parse(
      R"({"number":1,"port":"vm1","length":60,"frame":"a > b","outcome":"dropped","reason":"no_port",
    "steps":[{"us":0.0,"worker":0,"step":"received","says":"at vm1","frame":"a > b"},
             {"us":1.25,"worker":1,"step":"translate","says":"","frame":"c > b"},
             {"us":2.0,"worker":1,"step":"dropped","says":"no_port: none is left"}]})");
  server.answer("trace", stream_of(asked, {frame, {{"traced", 1}, {"missed", 2}}}));
  EXPECT_EQ(run({"trace", "--count", "3", "udp", "port", "53"}), 0);
  EXPECT_EQ(out,
            "frame 1 at vm1, 60 bytes: a > b\n"
            "       0.0 us  worker 0  received     at vm1\n"
            "       1.2 us  worker 1  translate    c > b\n"
            "       2.0 us  worker 1  dropped      no_port: none is left\n");
  EXPECT_EQ(err, "vmnatctl: 2 steps are missing\n");
  EXPECT_EQ(asked["expression"], "udp port 53");
  EXPECT_EQ(asked["count"], 3);
  EXPECT_EQ(run({"--json", "trace"}), 0);
  EXPECT_EQ(json::parse(out), json::array({frame}));
}

TEST_F(Vmnatctl, ExplainsItself) {
  EXPECT_EQ(run({"--help"}), 0);
  for (const char* command :
       {"status",  "ports",     "networks", "uplinks", "leases",     "sessions",   "counters",
        "workers", "neighbors", "forwards", "rules",   "exhaustion", "invariants", "config",
        "reload",  "flush",     "lease",    "reserve", "qemu-args",  "libvirt-xml"})
    EXPECT_NE(out.find(std::string{"\n  "} + command + " "), std::string::npos) << command;
  EXPECT_EQ(run({"sessions", "--help"}), 0);
  EXPECT_NE(out.find("--remote"), std::string::npos);
}

}  // namespace
}  // namespace vmnat::ctl
