// SPDX-License-Identifier: Apache-2.0
// Floods are floods of what they say: frames that a gateway would take for good, each unlike the one before
// where they are to vary.
#include "bench/generator/flood_frames.h"

#include <gtest/gtest.h>
#include <set>
#include <string>

#include "net/checksum.h"
#include "net/wire.h"

namespace vmnat::bench {
namespace {

using Bytes = std::vector<std::byte>;

const FloodEnds kEnds = {.own = {{0x52, 0x54, 0, 0xbe, 0, 3}},
                         .gateway = {{0x52, 0x54, 0, 1, 1, 1}},
                         .address = net::Ipv4Addr::of(10, 77, 64, 1),
                         .gateway_address = net::Ipv4Addr::of(10, 77, 0, 1),
                         .remote = net::Ipv4Addr::of(198, 19, 3, 4),
                         .silent = net::Ipv4Addr::of(198, 18, 0, 77)};

Bytes numbered(const Flood& flood, std::uint32_t number) {
  Bytes frame = flood.frame(kEnds);
  if (flood.vary != nullptr) flood.vary(frame.data(), number);
  return frame;
}

TEST(FloodFrames, HaveNamesThatFindThem) {
  std::set<std::string_view> names;
  for (const Flood& flood : all_floods()) {
    EXPECT_EQ(find_flood(flood.name), &flood);
    EXPECT_TRUE(names.insert(flood.name).second) << flood.name;
  }
  EXPECT_EQ(find_flood("no such flood"), nullptr);
}

TEST(FloodFrames, HaveAnIpv4HeaderThatIsRightWhateverVaries) {
  for (const Flood& flood : all_floods())
    for (const std::uint32_t number : {0u, 1u, 0xffffu, 0x10000u, 0x12345678u}) {
      const Bytes frame = numbered(flood, number);
      ASSERT_GE(frame.size(), 60u) << flood.name;
      if (net::view<net::EthernetHeader>(frame)->ether_type() != net::EtherType::Ipv4) continue;
      const auto& ip = *net::view<net::Ipv4Header>(frame, 14);
      EXPECT_EQ(net::folded(net::added_sum(std::span(frame).subspan(14, 20))), 0xffff) << flood.name;
      EXPECT_LE(14u + ip.total_length.host(), frame.size()) << flood.name;
    }
}

TEST(FloodFrames, OfNewFlowsAndTransactionsDiffer) {
  for (const char* name : {"dhcp", "flows", "syn", "fragments"}) {
    std::set<std::string> seen;
    for (std::uint32_t number = 0; number < 1000; ++number) {
      const Bytes frame = numbered(*find_flood(name), number);
      seen.emplace(reinterpret_cast<const char*>(frame.data()), frame.size());
    }
    EXPECT_EQ(seen.size(), 1000u) << name;
  }
}

TEST(FloodFrames, SuperFramesHaveSomethingToCut) {
  for (const Flood& flood : all_floods()) {
    if (flood.segment_size == 0) continue;
    const Bytes frame = flood.frame(kEnds);
    const auto& ip = *net::view<net::Ipv4Header>(frame, 14);
    EXPECT_EQ(ip.protocol(), net::Protocol::Tcp) << flood.name;
    EXPECT_EQ(14u + ip.total_length.host(), frame.size()) << flood.name;
    EXPECT_GT(frame.size(), 54u + flood.segment_size) << flood.name;
  }
}

}  // namespace
}  // namespace vmnat::bench
