// SPDX-License-Identifier: Apache-2.0
#include "control/translations/line.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace vmnat::control {
namespace {

using nlohmann::json;

net::Endpoint endpoint(std::string_view address, std::uint16_t port) {
  return {net::parse_ipv4(address).value(), net::L4Port::from_host(port)};
}

Translation session(TranslationEvent event, net::Protocol protocol) {
  return {.time = std::chrono::system_clock::time_point(std::chrono::milliseconds(1'767'268'800'125)),
          .event = event,
          .mac = net::parse_mac("52:54:00:00:00:01").value(),
          .network = R"("default")",
          .port = R"("vm1")",
          .session = {.internal = endpoint("192.168.122.10", 40000),
                      .external = endpoint("203.0.113.2", 40001),
                      .remote = endpoint("9.9.9.9", 443),
                      .protocol = protocol,
                      .packets_out = 5,
                      .packets_in = 4,
                      .bytes_out = 500,
                      .bytes_in = 400}};
}

std::string line_of(const Translation& translation) {
  Buffer buffer;
  append_json(translation, buffer);
  return to_string(buffer);
}

TEST(TranslationLine, ASessionHasItsThreeEndpoints) {
  EXPECT_EQ(line_of(session(TranslationEvent::Created, net::Protocol::Tcp)),
            R"({"time":"2026-01-01T12:00:00.125Z","event":"created","network":"default","port":"vm1",)"
            R"("mac":"52:54:00:00:00:01","protocol":"tcp","internal":"192.168.122.10:40000",)"
            R"("external":"203.0.113.2:40001","remote":"9.9.9.9:443"})");
}

TEST(TranslationLine, ItsEndSaysWhatItHasCarried) {
  const json line = json::parse(line_of(session(TranslationEvent::Ended, net::Protocol::Udp)));
  EXPECT_EQ(line["event"], "ended");
  EXPECT_EQ(line["packets_out"], 5);
  EXPECT_EQ(line["packets_in"], 4);
  EXPECT_EQ(line["bytes_out"], 500);
  EXPECT_EQ(line["bytes_in"], 400);
}

TEST(TranslationLine, ProtocolsWithoutPortsHaveAddressesAlone) {
  const json gre = json::parse(line_of(session(TranslationEvent::Created, net::Protocol{47})));
  EXPECT_EQ(gre["protocol"], "47");
  EXPECT_EQ(gre["external"], "203.0.113.2");
  const json icmp = json::parse(line_of(session(TranslationEvent::Created, net::Protocol::Icmp)));
  EXPECT_EQ(icmp["remote"], "9.9.9.9:40001") << "the identifier";
}

TEST(TranslationLine, ABlockHasItsFirstAndLastPort) {
  Translation block = session(TranslationEvent::BlockGiven, net::Protocol{0});
  block.block_ports = 512;
  block.mac = {};
  block.session.external = endpoint("203.0.113.2", 65024);
  EXPECT_EQ(line_of(block),
            R"({"time":"2026-01-01T12:00:00.125Z","event":"block_given","network":"default","port":"vm1",)"
            R"("internal":"192.168.122.10","external":"203.0.113.2","first_port":65024,"last_port":65535})");
}

TEST(TranslationLine, MarksAreLinesOfTheirOwn) {
  Translation mark = session(TranslationEvent::Started, net::Protocol{0});
  EXPECT_EQ(line_of(mark), R"({"time":"2026-01-01T12:00:00.125Z","event":"started"})");
  mark.event = TranslationEvent::Lost;
  mark.lost = 12;
  EXPECT_EQ(line_of(mark), R"({"time":"2026-01-01T12:00:00.125Z","event":"lost","events":12})");
}

TEST(TranslationLine, TimesBeforeAndAfterASecondAreWholeOnes) {
  Translation at = session(TranslationEvent::Started, net::Protocol{0});
  at.time += std::chrono::milliseconds(874);
  EXPECT_EQ(json::parse(line_of(at))["time"], "2026-01-01T12:00:00.999Z");
  at.time += std::chrono::milliseconds(1);
  EXPECT_EQ(json::parse(line_of(at))["time"], "2026-01-01T12:00:01.000Z");
}

}  // namespace
}  // namespace vmnat::control
