// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/conntrack_text.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace vmnat::ctl {
namespace {

using Json = nlohmann::json;

TEST(Conntrack, WritesTcpAsTheKernelsToolDoes) {
  EXPECT_EQ(
      conntrack_line(Json::parse(R"({"network":"default","port":"vm1","protocol":"tcp",
      "internal":"192.168.122.10:4242","external":"203.0.113.5:1024","remote":"9.9.9.9:443","state":"established",
      "idle_s":1,"expires_s":7439,"packets_out":5,"packets_in":4,"bytes_out":500,"bytes_in":400})")),
      "tcp      6 7439 ESTABLISHED src=192.168.122.10 dst=9.9.9.9 sport=4242 dport=443 packets=5 bytes=500 "
      "src=9.9.9.9 dst=203.0.113.5 sport=443 dport=1024 packets=4 bytes=400 [ASSURED] mark=0 use=1\n");
}

TEST(Conntrack, MarksWhatWasNotAnswered) {
  EXPECT_EQ(
      conntrack_line(Json::parse(R"({"protocol":"udp","internal":"10.0.0.1:5","external":"192.0.2.1:1024",
      "remote":"9.9.9.9:53","state":"open","expires_s":28,"packets_out":1,"packets_in":0,"bytes_out":60,"bytes_in":0})")),
      "udp      17 28 src=10.0.0.1 dst=9.9.9.9 sport=5 dport=53 packets=1 bytes=60 [UNREPLIED] "
      "src=9.9.9.9 dst=192.0.2.1 sport=53 dport=1024 packets=0 bytes=0 mark=0 use=1\n");
}

TEST(Conntrack, GivesIcmpItsIdentifierAndOthersNoPorts) {
  EXPECT_EQ(
      conntrack_line(Json::parse(R"({"protocol":"icmp","internal":"10.0.0.1:77","external":"192.0.2.1:2048",
      "remote":"9.9.9.9:77","expires_s":59,"packets_out":1,"packets_in":1,"bytes_out":84,"bytes_in":84})")),
      "icmp     1 59 src=10.0.0.1 dst=9.9.9.9 type=8 code=0 id=77 packets=1 bytes=84 "
      "src=9.9.9.9 dst=192.0.2.1 type=0 code=0 id=77 packets=1 bytes=84 [ASSURED] mark=0 use=1\n");
  EXPECT_EQ(conntrack_line(Json::parse(R"({"protocol":"47","internal":"10.0.0.1","external":"192.0.2.1",
      "remote":"9.9.9.9","expires_s":59})")),
            "unknown  47 59 src=10.0.0.1 dst=9.9.9.9 src=9.9.9.9 dst=192.0.2.1 [ASSURED] mark=0 use=1\n");
}

TEST(Conntrack, HasTheKernelsNamesOfStatesAndWholeSeconds) {
  EXPECT_EQ(
      conntrack_line(Json::parse(R"({"protocol":"tcp","internal":"10.0.0.1:5","external":"192.0.2.1:1024",
      "remote":"9.9.9.9:53","state":"fin_outbound","expires_s":28.9375,"packets_in":1})")),
      "tcp      6 28 FIN_WAIT src=10.0.0.1 dst=9.9.9.9 sport=5 dport=53 "
      "src=9.9.9.9 dst=192.0.2.1 sport=53 dport=1024 packets=1 [ASSURED] mark=0 use=1\n");
}

TEST(Conntrack, EventsAreWrittenAsTheKernelsToolWritesThem) {
  Json event = Json::parse(
      R"({"protocol":"tcp","internal":"10.0.0.1:5","external":"192.0.2.1:1024","remote":"9.9.9.9:53",
      "state":"syn_sent","expires_s":240,"packets_out":0,"packets_in":0,"bytes_out":0,"bytes_in":0,"event":"new"})");
  EXPECT_EQ(conntrack_event_line(event),
            "    [NEW] tcp      6 240 SYN_SENT src=10.0.0.1 dst=9.9.9.9 sport=5 dport=53 [UNREPLIED] "
            "src=9.9.9.9 dst=192.0.2.1 sport=53 dport=1024\n");
  event["event"] = "update";
  event["state"] = "established";
  event["packets_in"] = 1;
  EXPECT_EQ(conntrack_event_line(event),
            " [UPDATE] tcp      6 240 ESTABLISHED src=10.0.0.1 dst=9.9.9.9 sport=5 dport=53 "
            "src=9.9.9.9 dst=192.0.2.1 sport=53 dport=1024 [ASSURED]\n");
  event["event"] = "destroy";
  EXPECT_EQ(conntrack_event_line(event),
            "[DESTROY] tcp      6 src=10.0.0.1 dst=9.9.9.9 sport=5 dport=53 packets=0 bytes=0 "
            "src=9.9.9.9 dst=192.0.2.1 sport=53 dport=1024 packets=1 bytes=0 [ASSURED]\n");
}

}  // namespace
}  // namespace vmnat::ctl
