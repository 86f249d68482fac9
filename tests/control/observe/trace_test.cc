// SPDX-License-Identifier: Apache-2.0
// The way of a frame, from what workers have recorded of it.
#include "control/observe/trace.h"

#include <cstring>
#include <gtest/gtest.h>

#include "dataplane/context/stage_cycles.h"
#include "net/wire.h"

namespace vmnat::control {
namespace {

using dataplane::DropReason;
using dataplane::Observation;
using dataplane::Record;
using dataplane::Sight;
using dataplane::Stage;
using dataplane::StepNote;
using nlohmann::json;

constexpr std::uint64_t kHz = 1'000'000;  // a tick is a microsecond
constexpr std::uint64_t kLater = 50'000, kMuchLater = 3'500'000;

struct UdpFrame {
  net::EthernetHeader ethernet{};
  net::Ipv4Header ip{};
  net::UdpHeader udp{};
};

UdpFrame udp(const char* from, std::uint16_t port, std::uint8_t ttl = 64) {
  UdpFrame frame;
  frame.ethernet.type = net::Be16::from_host(0x0800);
  frame.ip.version_ihl = 0x45;
  frame.ip.protocol_number = 17;
  frame.ip.ttl = ttl;
  frame.ip.source = *net::parse_ipv4(from);
  frame.ip.destination = *net::parse_ipv4("198.51.100.2");
  frame.udp.source_port = net::L4Port::from_host(port);
  frame.udp.destination_port = net::L4Port::from_host(53);
  return frame;
}

struct TraceTest : testing::Test {
  StatePublisher states{dataplane::ForwardingState{}};
  Observers observers{states, 2, [] { return std::optional{dataplane::TraceMark{.flag = 1}}; }};
  std::vector<PortPlan> ports{{.name = "uplink"}, {.name = "vm1"}, {.name = "vm2"}};
  const Observation* observation = nullptr;

  Trace begin(std::uint32_t count = 1) {
    Observation wanted;
    wanted.to_trace = std::make_unique<std::atomic<std::uint32_t>>(count);
    auto observer = observers.add(std::move(wanted), 0);
    observation = &(*observer)->observation();
    return Trace(*std::move(observer), ports, count, kHz);
  }
  Record& record(WorkerIndex worker, std::uint64_t tsc, Sight sight, PortIndex port, const UdpFrame& frame,
                 std::uint32_t number = 1, const StepNote* note = nullptr) const {
    const std::size_t before = note != nullptr ? sizeof *note : 0;
    Record& record =
        *observation->rings[worker]->add(static_cast<std::uint32_t>(before + sizeof frame), port);
    record.tsc = tsc;
    record.sight = sight;
    record.worker = worker;
    record.number = number;
    record.length = 60;
    if (note != nullptr) std::memcpy(record.bytes(), note, sizeof *note);
    std::memcpy(static_cast<std::byte*>(record.bytes()) + before, &frame, sizeof frame);
    return record;
  }
  void publish() const {
    for (const auto& ring : observation->rings) ring->publish();
  }
};

TEST_F(TraceTest, AFrameIsToldOnceItHasEnded) {
  Trace trace = begin();
  const UdpFrame inside = udp("192.168.122.10", 4000), outside = udp("203.0.113.2", 5000, 63);
  record(0, 1000, Sight::Received, 1, inside);
  StepNote note{.kind = dataplane::PacketKind::Udp};
  record(0, 1001, Sight::Step, 1, inside, 1, &note).step = static_cast<std::uint8_t>(Stage::Parse);
  note.has_session = note.is_new = true;
  note.protocol = net::Protocol::Udp;
  note.internal = {inside.ip.source, inside.udp.source_port};
  note.external = {outside.ip.source, outside.udp.source_port};
  note.remote = {inside.ip.destination, inside.udp.destination_port};
  record(1, 1010, Sight::Errand, 1, inside).step =
      static_cast<std::uint8_t>(dataplane::FrameNote::Errand::Outbound);
  record(1, 1011, Sight::Step, 1, inside, 1, &note).step = static_cast<std::uint8_t>(Stage::LookUp);
  record(1, 1012, Sight::Step, 1, outside, 1, &note).step = static_cast<std::uint8_t>(Stage::Translate);
  publish();
  json item;
  EXPECT_FALSE(trace.next(item, 1012 + kLater));
  record(1, 1020, Sight::Transmitted, 0, outside);
  publish();
  EXPECT_FALSE(trace.next(item, 1021));
  ASSERT_TRUE(trace.next(item, 1020 + kLater));
  EXPECT_TRUE(trace.has_ended());
  EXPECT_EQ(item["number"], 1);
  EXPECT_EQ(item["port"], "vm1");
  EXPECT_EQ(item["outcome"], "transmitted");
  EXPECT_EQ(item["frame"], "192.168.122.10:4000 > 198.51.100.2:53 udp, ttl 64");
  std::vector<std::string> told;
  for (const json& step : item["steps"])
    told.push_back(step["step"].get<std::string>() + ": " + step["says"].get<std::string>() + "|" +
                   step.value("frame", ""));
  EXPECT_EQ(told,
            (std::vector<std::string>{
                "received: at vm1|192.168.122.10:4000 > 198.51.100.2:53 udp, ttl 64", "parse: UDP|",
                "handed_over: from worker 0: to be looked up|",
                "look_up: session opened: 192.168.122.10:4000 as 203.0.113.2:5000 with 198.51.100.2:53|",
                "translate: |203.0.113.2:5000 > 198.51.100.2:53 udp, ttl 63", "transmitted: by uplink|"}));
  EXPECT_EQ(item["steps"][5]["us"], 20.0);
}

TEST_F(TraceTest, ADropHasItsReasonAndAPuntToo) {
  Trace trace = begin(2);
  record(0, 1000, Sight::Received, 1, udp("10.0.0.1", 1), 1);
  record(0, 1001, Sight::Dropped, 1, udp("10.0.0.1", 1), 1).reason = DropReason::SpoofedAddress;
  record(0, 1002, Sight::Received, 2, udp("10.0.0.2", 1), 2);
  record(0, 1003, Sight::Punted, 2, udp("10.0.0.2", 1), 2).step =
      static_cast<std::uint8_t>(dataplane::PuntReason::Dhcp);
  publish();
  json first, second;
  ASSERT_TRUE(trace.next(first, kLater));
  ASSERT_TRUE(trace.next(second, kLater));
  EXPECT_EQ(first["outcome"], "dropped");
  EXPECT_EQ(first["reason"], "spoofed_address");
  EXPECT_EQ(second["outcome"], "punted");
  EXPECT_EQ(second["reason"], "dhcp");
}

TEST_F(TraceTest, WhoseEndDoesNotComeIsToldAfterAWhileOrAtTheEnd) {
  Trace trace = begin(2);
  record(0, 1000, Sight::Received, 1, udp("10.0.0.1", 1), 1);
  record(0, 1001, Sight::Left, 1, udp("10.0.0.1", 1), 1).step = static_cast<std::uint8_t>(Stage::Fragments);
  record(0, 4'000'000, Sight::Received, 1, udp("10.0.0.1", 2), 2);
  publish();
  json item;
  EXPECT_FALSE(trace.next(item, kLater));
  ASSERT_TRUE(trace.next(item, kMuchLater));
  EXPECT_TRUE(item["outcome"].is_null());
  EXPECT_EQ(item["steps"][1]["says"], "waits for its datagram's first fragment");
  EXPECT_FALSE(trace.next(item, 4'000'001));
  trace.finish();
  EXPECT_FALSE(trace.has_ended());
  ASSERT_TRUE(trace.next(item, 4'000'001));
  EXPECT_TRUE(trace.has_ended());
}

TEST_F(TraceTest, OfAFrameOfAnEarlierTraceNothingIsTold) {
  Trace trace = begin();
  record(0, 1000, Sight::Transmitted, 1, udp("10.0.0.1", 1), 99);
  publish();
  json item;
  EXPECT_FALSE(trace.next(item, kMuchLater));
}

TEST_F(TraceTest, ThereIsOneAtATimeAndNumbersAreNotUsedAgain) {
  {
    const Trace first = begin(5);
    Observation wanted;
    wanted.to_trace = std::make_unique<std::atomic<std::uint32_t>>(1u);
    const auto refused = observers.add(std::move(wanted), 0);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().what, "a trace is under way: end it first");
    EXPECT_EQ(observation->first_number, 0u);
  }
  const Trace second = begin();
  EXPECT_EQ(observation->first_number, 5u);
}

TEST(FrameText, SaysWhatThereIs) {
  EXPECT_EQ(frame_text({}), "0 bytes");
  const UdpFrame frame = udp("10.0.0.1", 1);
  const auto bytes = std::as_bytes(std::span{&frame, 1});
  EXPECT_EQ(frame_text(bytes.first(20)), "IPv4, cut short");
  EXPECT_EQ(frame_text(bytes.first(36)), "10.0.0.1 > 198.51.100.2 udp, ttl 64");
  UdpFrame later = frame;
  later.ip.fragment = net::Be16::from_host(0x2000 | 100);
  EXPECT_EQ(frame_text(std::as_bytes(std::span{&later, 1})),
            "10.0.0.1 > 198.51.100.2 udp, fragment at 800+, ttl 64");
}

}  // namespace
}  // namespace vmnat::control
