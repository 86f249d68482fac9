// SPDX-License-Identifier: Apache-2.0
// The daemon's JSON as text for people: exact texts.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>

#include "control/ctl/render.h"
#include "control/ctl/vm_recipe.h"

namespace vmnat::ctl {
namespace {

std::string table_of(const std::string& command, const std::string& rows) {
  std::ostringstream out;
  Table table(admin::find_command(command)->columns, out);
  for (const Json& row : Json::parse(rows)) table.add(row);
  table.finish();
  return out.str();
}

TEST(Table, AlignsNumbersRightAndWordsLeft) {
  EXPECT_EQ(table_of("neighbors", R"([
      {"address":"192.168.122.10","mac":"52:54:00:aa:00:01","network":"default","state":"reachable","age_s":5},
      {"address":"203.0.113.1","mac":null,"network":"uplink","state":"resolving","age_s":1234}])"),
            "ADDRESS         MAC                NETWORK  STATE      AGE_S\n"
            "192.168.122.10  52:54:00:aa:00:01  default  reachable      5\n"
            "203.0.113.1     -                  uplink   resolving   1234\n");
}

TEST(Table, PrintsItsTitlesWhenThereIsNoRow) {
  EXPECT_EQ(table_of("neighbors", "[]"), "ADDRESS  MAC  NETWORK  STATE  AGE_S\n");
}

TEST(Table, ShowsWhatIsMissingAsADash) {
  EXPECT_EQ(table_of("neighbors", R"([{"address":"10.0.0.1"}, 7])"),
            "ADDRESS   MAC  NETWORK  STATE  AGE_S\n"
            "10.0.0.1  -    -        -      -\n"
            "-         -    -        -      -\n");
}

TEST(Table, PrintsAPageBeforeTheLastRowIsThere) {
  std::ostringstream out;
  Table table(admin::kNeighborColumns, out);
  for (std::size_t i = 0; i < Table::kPageRows; ++i) table.add({{"address", "10.0.0.1"}, {"age_s", i}});
  EXPECT_NE(out.str().find("999\n"), std::string::npos);
  table.add({{"address", "10.0.0.2"}, {"age_s", 10}});
  table.finish();
  EXPECT_TRUE(out.str().ends_with("10.0.0.2  -    -        -         10\n"))
      << out.str().substr(out.str().size() - 80);
}

TEST(Table, LetsNoControlCharacterReachTheTerminal) {
  const std::string text = table_of("leases", R"([{"network":"a","hostname":"\u001b[31mred\n"}])");
  EXPECT_EQ(text.find('\033'), std::string::npos);
  EXPECT_NE(text.find("?[31mred?"), std::string::npos);
}

TEST(Ports, ShowDropsByReasonAndWhatTheyOwnAndWereRefused) {
  EXPECT_EQ(table_of("ports", R"([
      {"name":"vm1","network":"default","kind":"vhost-user","link":"up","mac":"52:54:00:aa:00:01",
       "address":"192.168.122.10","rx_packets":1000,"tx_packets":7,"drops":{"bad_header":2,"no_session":1},
       "owns":[{"mac":"52:54:00:aa:00:01","address":null,"by":"configuration"},
               {"mac":"52:54:00:aa:00:01","address":"192.168.122.10","by":"lease"},
               {"mac":"52:54:00:aa:00:02","address":"192.168.122.11","by":"lease"}],
       "refused":{"dhcp.held_elsewhere":3}},
      {"name":"uplink","network":"uplink","kind":"uplink","link":"down","rx_packets":0,"tx_packets":0,"drops":{}}])"),
            "NAME    NETWORK  KIND        LINK  MAC                ADDRESS           RX  TX  "
            "OWNS                                 DROPS                       REFUSED\n"
            "vm1     default  vhost-user  up    52:54:00:aa:00:01  192.168.122.10  1000   7  "
            "52:54:00:aa:00:01,192.168.122.10 +1  bad_header 2, no_session 1  dhcp.held_elsewhere 3\n"
            "uplink  uplink   uplink      down  -                  -                  0   0  "
            "-                                    -                           -\n");
}

TEST(Workers, ShowSharesAsPercent) {
  EXPECT_EQ(table_of("workers",
                     R"([{"worker":0,"cpu":3,"busy_ratio":0.0271,"cycles_per_packet":91.26,"packets":12345,
                                     "sessions":10,"handoff_ratio":0}])"),
            "WORKER  CPU   BUSY  CYCLES/PKT  PACKETS  SESSIONS  HANDOFF\n"
            "     0    3  2.7 %        91.3    12345        10    0.0 %\n");
}

TEST(Workers, ShowTheCostOfEachStepWhereItIsCounted) {
  const auto worker = Json::parse(R"({"worker":1,"stages":{"parse":{"cycles_per_packet":21.51,"packets":64},
                                      "new_flow":{"cycles_per_packet":0.0,"packets":0}}})");
  EXPECT_EQ(stages_text(worker), "worker 1: parse 21.5 cycles a packet\n");
  EXPECT_EQ(stages_text(Json::parse(R"({"worker":1})")), "");
}

TEST(Leases, ThatNeverExpireSaySo) {
  EXPECT_EQ(table_of("leases", R"([{"network":"default","address":"192.168.122.10","mac":"52:54:00:aa:00:01",
                                    "hostname":"","port":"vm1","state":"active","expires":null}])"),
            "NETWORK  ADDRESS         MAC                HOSTNAME  PORT  STATE   EXPIRES  RESERVED\n"
            "default  192.168.122.10  52:54:00:aa:00:01  -         vm1   active  never    -\n");
}

TEST(Networks, ShowTheirExternalAddresses) {
  EXPECT_EQ(table_of("networks", R"([{"name":"default","address":"192.168.122.1/24","mac":"52:54:00:0a:7a:01",
      "mtu":1500,"forward":"nat","ports":4,"leases":2,"external":["203.0.113.2","203.0.113.16-203.0.113.18"]}])"),
            "NAME     ADDRESS           MAC                 MTU  FORWARD  PORTS  LEASES  EXTERNAL\n"
            "default  192.168.122.1/24  52:54:00:0a:7a:01  1500  nat          4       2  "
            "203.0.113.2,203.0.113.16-203.0.113.18\n");
}

TEST(Status, SaysInAFewLinesWhetherAllIsWell) {
  EXPECT_EQ(object_text("status", Json::parse(R"({"version":"0.1.0","state":"running","uptime_s":93784,
      "config":"/etc/vmnat/vmnat.yaml","workers":2,"steering":"flow_rules","networks":1,"ports":{"up":3,"total":4},"leases":3,
      "sessions":{"active":12,"capacity":1048576},"memory":{"bytes":536870912,"hugepages":false},
      "uplink":{"device":"eth0","link":"up","address":"203.0.113.2/24","gateway":"203.0.113.1","gateway_mac":null},
      "notes":["runs without hugepages: slower"]})")),
            "vmnatd    0.1.0, running for 1d 2h 3m 4s\n"
            "config    /etc/vmnat/vmnat.yaml\n"
            "uplink    eth0 up, 203.0.113.2/24 via 203.0.113.1 (not resolved)\n"
            "networks  1\n"
            "ports     3 up of 4\n"
            "leases    3\n"
            "sessions  12 of 1048576\n"
            "workers   2, replies steered by flow rules\n"
            "memory    512 MiB, no hugepages\n"
            "note      runs without hugepages: slower\n");
  const auto with_uplink = [](const std::string& uplink) {
    return object_text("status", Json::parse(R"({"uplink":{"device":"eth0","link":"up",)" + uplink + "}}"));
  };
  EXPECT_NE(with_uplink(R"("address":"203.0.113.5/24","gateway":"203.0.113.1","gateway_mac":null,
      "dhcp":{"state":"bound","server":"203.0.113.1","expires":"2026-01-01T12:00:00Z"})")
                .find("203.0.113.5/24 via 203.0.113.1 (not resolved), DHCP bound by 203.0.113.1, until "
                      "2026-01-01T12:00:00Z\n"),
            std::string::npos);
  EXPECT_NE(with_uplink(R"("address":null,"dhcp":{"state":"selecting","server":null,"expires":null})")
                .find("uplink    eth0 up, no address, DHCP selecting\n"),
            std::string::npos);
  EXPECT_NE(object_text("status", Json::object()).find("uplink    - -, - via - (not resolved)\n"),
            std::string::npos);
}

TEST(DhcpChanges, AreOneSentence) {
  const auto text = [](const char* command, const char* answer) {
    return object_text(command, Json::parse(answer));
  };
  EXPECT_EQ(text("lease-release", R"({"address":"192.168.122.5","mac":"52:54:00:00:00:01","port":"vm1"})"),
            "the lease of 192.168.122.5 for 52:54:00:00:00:01 has ended\n");
  EXPECT_EQ(text("reserve-add", R"({"address":"192.168.122.5","mac":"52:54:00:00:00:01","port":null})"),
            "192.168.122.5 is reserved for MAC 52:54:00:00:00:01\n");
  EXPECT_EQ(text("reserve-add", R"({"address":"192.168.122.5","mac":null,"port":"vm1"})"),
            "192.168.122.5 is reserved for port vm1\n");
  EXPECT_EQ(text("reserve-del", R"({"address":"192.168.122.5"})"), "192.168.122.5 is no longer reserved\n");
}

TEST(Counters, AreOneALine) {
  EXPECT_EQ(object_text("counters", Json::parse(R"({"received":1000,"drop.no_session":7})")),
            "drop.no_session     7\n"
            "received         1000\n");
  EXPECT_EQ(object_text("counters", Json::object()), "");
}

TEST(Reload, SaysWhatHasChanged) {
  EXPECT_EQ(object_text("reload", Json::parse(R"({"changed":[]})")), "nothing has changed\n");
  EXPECT_EQ(object_text("reload", Json::parse(R"({"changed":["network a: port vm2 added"]})")),
            "network a: port vm2 added\n");
}

Json vhost_port(const std::string& mode) {
  return {{"name", "vm1"},
          {"kind", "vhost-user"},
          {"socket", "/run/vmnat/vm1.sock"},
          {"mode", mode},
          {"queues", 1}};
}

TEST(QemuArgs, LetTheOtherSideListen) {
  EXPECT_EQ(qemu_arguments(recipe_for(vhost_port("client"), "52:54:00:aa:00:01"), "2G"),
            "-m 2G\n"
            "-object memory-backend-memfd,id=vmnat-memory,size=2G,share=on\n"
            "-numa node,memdev=vmnat-memory\n"
            "-chardev socket,id=vmnat-vm1-socket,path=/run/vmnat/vm1.sock,server=on,wait=off\n"
            "-netdev vhost-user,id=vmnat-vm1,chardev=vmnat-vm1-socket\n"
            "-device virtio-net-pci,netdev=vmnat-vm1,mac=52:54:00:aa:00:01\n");
  const std::string second = qemu_arguments(recipe_for(vhost_port("server"), ""), "none");
  EXPECT_TRUE(
      second.starts_with("-chardev socket,id=vmnat-vm1-socket,path=/run/vmnat/vm1.sock,reconnect=1\n"));
}

TEST(QemuArgs, KnowQueuesAndMtu) {
  Json port = vhost_port("client");
  port["queues"] = 4;
  port["mtu"] = 9000;
  const std::string text = qemu_arguments(recipe_for(port, "52:54:00:aa:00:01"), "none");
  EXPECT_NE(text.find("chardev=vmnat-vm1-socket,queues=4\n"), std::string::npos);
  EXPECT_NE(text.find("mac=52:54:00:aa:00:01,mq=on,vectors=10,host_mtu=9000\n"), std::string::npos);
}

TEST(VmRecipe, TakesTheMacGivenElseTheKnownElseOneOfTheName) {
  Json port = vhost_port("client");
  const std::string made = recipe_for(port, "").mac;
  EXPECT_TRUE(made.starts_with("52:54:00:")) << made;
  EXPECT_EQ(recipe_for(port, "").mac, made);
  port["name"] = "vm2";
  EXPECT_NE(recipe_for(port, "").mac, made);
  port["mac"] = "52:54:00:00:00:07";
  EXPECT_EQ(recipe_for(port, "").mac, "52:54:00:00:00:07");
  EXPECT_EQ(recipe_for(port, "52:54:00:00:00:08").mac, "52:54:00:00:00:08");
}

TEST(LibvirtXml, IsAnInterfaceAndItsSharedMemory) {
  EXPECT_EQ(libvirt_xml(recipe_for(vhost_port("client"), "52:54:00:aa:00:01")),
            "<!-- in <domain>, once: guest memory must be shared with vmnatd -->\n"
            "<memoryBacking>\n"
            "  <source type='memfd'/>\n"
            "  <access mode='shared'/>\n"
            "</memoryBacking>\n"
            "<!-- in <devices> -->\n"
            "<interface type='vhostuser'>\n"
            "  <mac address='52:54:00:aa:00:01'/>\n"
            "  <source type='unix' path='/run/vmnat/vm1.sock' mode='server'/>\n"
            "  <model type='virtio'/>\n"
            "</interface>\n");
  const std::string client = libvirt_xml(recipe_for(vhost_port("server"), ""));
  EXPECT_NE(client.find("mode='client'>\n    <reconnect enabled='yes' timeout='1'/>\n  </source>\n"),
            std::string::npos);
}

}  // namespace
}  // namespace vmnat::ctl
