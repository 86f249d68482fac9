// SPDX-License-Identifier: Apache-2.0
// The MSS of SYNs: the clamp alone on a table of options, and on the way through the NAT.
#include "dataplane/pipeline/mss_clamp.h"

#include <cstring>
#include <gtest/gtest.h>
#include <random>

#include "net/checksum.h"
#include "tests/support/testbed.h"

namespace vmnat::test {
namespace {

using net::TcpHeader;

// A segment with these options, padded with zeros to whole words, and a checksum that makes its sum 0.
Bytes segment(const std::vector<unsigned>& options) {
  Bytes bytes(20);
  const Bytes tail = as_bytes(options);
  bytes.insert(bytes.end(), tail.begin(), tail.end());
  while (bytes.size() % 4 != 0) bytes.push_back(std::byte{0});
  auto& tcp = *net::mutable_view<TcpHeader>(bytes);
  tcp.data_offset = static_cast<std::uint8_t>(bytes.size() / 4 << 4);
  tcp.flags = TcpHeader::kSyn;
  tcp.sequence = net::Be32::from_host(0x12345678);
  tcp.checksum = net::checksum_of(net::added_sum(bytes));
  return bytes;
}
Bytes options_of(const Bytes& segment) {
  return {segment.begin() + 20, segment.end()};
}

struct Row {
  const char* says;
  std::vector<unsigned> options;
  std::vector<unsigned> expected;  // after a clamp to 1360 (0x0550)
};

const Row kRows[] = {
    {"too large", {2, 4, 0x05, 0xb4}, {2, 4, 0x05, 0x50}},
    {"as large as may be", {2, 4, 0x05, 0x50}, {2, 4, 0x05, 0x50}},
    {"smaller: not raised", {2, 4, 0x02, 0x18}, {2, 4, 0x02, 0x18}},
    {"the largest of all", {2, 4, 0xff, 0xff}, {2, 4, 0x05, 0x50}},
    {"at an odd offset", {1, 2, 4, 0x05, 0xb4, 1, 1, 0}, {1, 2, 4, 0x05, 0x50, 1, 1, 0}},
    {"behind others", {3, 3, 7, 4, 2, 2, 4, 0x23, 0x28}, {3, 3, 7, 4, 2, 2, 4, 0x05, 0x50}},
    {"twice, for the last counts",
     {2, 4, 0x05, 0xb4, 2, 4, 0x23, 0x28},
     {2, 4, 0x05, 0x50, 2, 4, 0x05, 0x50}},
    {"none", {4, 2, 1, 1}, {4, 2, 1, 1}},
    {"behind the end of the list", {0, 2, 4, 0x05, 0xb4}, {0, 2, 4, 0x05, 0xb4}},
    {"of a wrong length", {2, 3, 0x05, 0xb4}, {2, 3, 0x05, 0xb4}},
    {"of a wrong length, longer", {2, 6, 0x05, 0xb4, 0, 0}, {2, 6, 0x05, 0xb4, 0, 0}},
    {"beyond the header", {1, 1, 2, 4}, {1, 1, 2, 4}},
    {"behind an option of length 0", {3, 0, 2, 4, 0x05, 0xb4}, {3, 0, 2, 4, 0x05, 0xb4}},
    {"behind an option of length 1", {3, 1, 2, 4, 0x05, 0xb4}, {3, 1, 2, 4, 0x05, 0xb4}},
    {"behind an option that is longer than all", {3, 40, 2, 4, 0x05, 0xb4}, {3, 40, 2, 4, 0x05, 0xb4}},
    {"the kind alone, at the end", {1, 1, 1, 2}, {1, 1, 1, 2}},
};

TEST(MssClamp, LowersWhatIsTooLargeAndLeavesTheRestAlone) {
  for (const Row& row : kRows) {
    Bytes bytes = segment(row.options);
    dataplane::clamp_mss(bytes, 1360);
    Bytes expected = as_bytes(row.expected);
    expected.resize(bytes.size() - 20);
    EXPECT_EQ(options_of(bytes), expected) << row.says;
    EXPECT_EQ(net::folded(net::added_sum(bytes)), 0xffff) << "checksum: " << row.says;
  }
}

TEST(MssClamp, ReadsNothingBehindTheBytesAtHand) {
  Bytes bytes = segment({1, 1, 2, 4, 0x05, 0xb4});
  const Bytes whole = bytes;
  for (std::size_t size = 20; size < 26; ++size) {
    Bytes cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));  // ASan watches its end
    dataplane::clamp_mss(cut, 1360);
    EXPECT_TRUE(std::equal(cut.begin(), cut.end(), whole.begin()));
  }
}

TEST(MssClamp, KeepsTheChecksumRightWhateverTheOptionsAre) {
  std::mt19937 random(7);
  for (unsigned round = 0; round < 20'000; ++round) {
    std::vector<unsigned> options;
    while (options.size() < 36) {
      const unsigned kind = random() % 5, length = random() % 3 == 0 ? random() % 8 : 4;
      options.insert(options.end(), {kind, length, static_cast<unsigned>(random() % 256)});
    }
    Bytes bytes = segment(options);
    dataplane::clamp_mss(bytes, static_cast<std::uint16_t>(random()));
    ASSERT_EQ(net::folded(net::added_sum(bytes)), 0xffff) << "round " << round;
  }
}

// A frame with TCP options, checksums computed in full.
Bytes with_options(Packet packet, const std::vector<unsigned>& options) {
  Bytes frame = packet.payload(options.size()).frame([&](Bytes& bytes) {
    std::memcpy(bytes.data() + 54, as_bytes(options).data(), options.size());
    bytes[46] = static_cast<std::byte>((20 + options.size()) / 4 << 4);
    auto& tcp = *net::mutable_view<TcpHeader>(bytes, 34);
    const auto& ip = *net::view<net::Ipv4Header>(bytes, 14);
    tcp.checksum = {};
    const auto length = static_cast<std::uint16_t>(bytes.size() - 34);
    tcp.checksum = net::checksum_of(net::added_sum(
        std::span(bytes).subspan(34), net::pseudo_header_sum(ip.source, ip.destination, 6, length)));
  });
  EXPECT_TRUE(has_good_checksums(frame));
  return frame;
}

class MssOnTheWay : public ::testing::Test {
 protected:
  MssOnTheWay() {
    bed.learn(kVm1, vm_mac(1));
    set_most(1360);
  }
  void set_most(std::uint16_t most) {
    bed.change_state([&](dataplane::ForwardingState& state) { state.networks[0].most_mss = most; });
  }
  // The MSS option's value on the other side, of a segment with these flags and 1460 in it.
  unsigned seen(PortIndex from, PortIndex to, const Packet& packet) {
    bed.exchange(from, with_options(packet, {1, 2, 4, 0x05, 0xb4, 1, 1, 1}));
    const auto frames = bed.take(to);
    EXPECT_EQ(frames.size(), 1u);
    if (frames.empty()) return 0;
    EXPECT_TRUE(has_good_checksums(frames[0]));
    return static_cast<unsigned>(frames[0][57]) << 8 | static_cast<unsigned>(frames[0][58]);
  }
  static Packet out(std::uint8_t flags) {
    return Packet().from(vm_mac(1), kVm1Address, 40000).to(kRedMac, kServer, 80).tcp(flags);
  }
  static Packet in(std::uint8_t flags) {
    return Packet().from(kRouterMac, kServer, 80).to(kUplinkMac, "203.0.113.2", 40000).tcp(flags);
  }
  Testbed bed;
};

TEST_F(MssOnTheWay, BothSynsAreClampedAndNothingElseIs) {
  EXPECT_EQ(seen(kVm1, kUplink, out(TcpHeader::kSyn)), 1360u);
  EXPECT_EQ(seen(kVm1, kUplink, out(TcpHeader::kSyn)), 1360u) << "sent again";
  EXPECT_EQ(seen(kUplink, kVm1, in(TcpHeader::kSyn | TcpHeader::kAck)), 1360u);
  EXPECT_EQ(seen(kVm1, kUplink, out(TcpHeader::kAck)), 1460u) << "no SYN";
  EXPECT_EQ(seen(kUplink, kVm1, in(TcpHeader::kAck | TcpHeader::kPsh)), 1460u);
}

TEST_F(MssOnTheWay, OffIsOff) {
  set_most(0);
  EXPECT_EQ(seen(kVm1, kUplink, out(TcpHeader::kSyn)), 1460u);
  EXPECT_EQ(seen(kUplink, kVm1, in(TcpHeader::kSyn | TcpHeader::kAck)), 1460u);
}

// RFC 768: a checksum that comes out as 0 is sent as 0xffff, for 0 says that there is none.
TEST(UdpChecksum, AComputedZeroLeavesAsAllOnes) {
  Testbed bed;
  bed.learn(kVm1, vm_mac(1));
  const Packet datagram =
      Packet().from(vm_mac(1), kVm1Address, 40000).to(kRedMac, kServer, 53).udp().payload(2);
  const auto checksum_of = [](const Bytes& frame) { return net::view<net::UdpHeader>(frame, 34)->checksum; };
  bed.exchange(kVm1, datagram.frame());
  const Bytes plain = bed.take(kUplink).at(0);
  // What the sum lacks to all ones goes into the payload, on both sides of the NAT.
  const Bytes made = datagram.frame([&](Bytes& frame) {
    auto& word = *net::mutable_view<net::Be16>(frame, 42);
    const net::Be16 wanted =
        net::Be16::from_raw(net::folded(std::uint64_t{word.raw()} + checksum_of(plain).raw()));
    auto& udp = *net::mutable_view<net::UdpHeader>(frame, 34);
    udp.checksum = net::ChecksumDelta::of(word.raw(), wanted.raw()).applied_to_udp(udp.checksum);
    word = wanted;
  });
  ASSERT_TRUE(has_good_checksums(made));
  bed.exchange(kVm1, made);
  const Bytes sent = bed.take(kUplink).at(0);
  EXPECT_EQ(checksum_of(sent).raw(), 0xffff);
  EXPECT_TRUE(has_good_checksums(sent));
}

}  // namespace
}  // namespace vmnat::test
