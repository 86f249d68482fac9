// SPDX-License-Identifier: Apache-2.0
// The bytes of a capture file, read by their places (draft-ietf-opsawg-pcapng section 4).
#include "control/observe/pcapng.h"

#include <cstring>
#include <gtest/gtest.h>

namespace vmnat::control::pcapng {
namespace {

std::uint32_t word(const Bytes& bytes, std::size_t at) {
  std::uint32_t word = 0;
  std::memcpy(&word, bytes.data() + at, sizeof word);
  return word;
}

// The text of the option, which stands from `at` on among options.
std::string option(const Bytes& bytes, std::size_t at, std::uint16_t code) {
  for (;;) {
    const std::uint32_t header = word(bytes, at);
    const std::size_t length = header >> 16;
    if ((header & 0xffff) == code) return {reinterpret_cast<const char*>(bytes.data()) + at + 4, length};
    if (header == 0) return "none";
    at += 4 + (length + 3) / 4 * 4;
  }
}

void expect_whole(const Bytes& block, std::uint32_t type) {
  ASSERT_EQ(block.size() % 4, 0u);
  EXPECT_EQ(word(block, 0), type);
  EXPECT_EQ(word(block, 4), block.size());
  EXPECT_EQ(word(block, block.size() - 4), block.size());
  EXPECT_EQ(word(block, block.size() - 8), 0u);  // the end of its options
}

TEST(Pcapng, ASectionSaysWhoWroteIt) {
  Bytes bytes;
  add_section(bytes, "vmnatd 1.0");
  expect_whole(bytes, 0x0a0d0d0a);
  EXPECT_EQ(word(bytes, 8), 0x1a2b3c4du);
  EXPECT_EQ(word(bytes, 12), 1u);
  EXPECT_EQ(option(bytes, 24, 4), "vmnatd 1.0");
}

TEST(Pcapng, AnInterfaceHasItsNameAndTimesInNanoseconds) {
  Bytes bytes;
  add_interface(bytes, {.name = "vm1", .description = "vmnat port vm1", .filter = "udp", .snap = 96});
  expect_whole(bytes, 1);
  EXPECT_EQ(word(bytes, 8), 1u);
  EXPECT_EQ(word(bytes, 12), 96u);
  EXPECT_EQ(option(bytes, 16, 2), "vm1");
  EXPECT_EQ(option(bytes, 16, 9), "\x09");
  EXPECT_EQ(option(bytes, 16, 11), std::string("\0udp", 4));
}

TEST(Pcapng, APacketHasItsBytesDirectionAndComment) {
  const std::byte kept[] = {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}, std::byte{5}};
  Bytes bytes = {9, 9, 9, 9};  // what was there stays
  add_packet(bytes, {.interface = 3,
                     .time = WallTime{std::chrono::nanoseconds{0x1234567890abcdef}},
                     .length = 1500,
                     .kept = kept,
                     .way = Way::Outbound,
                     .comment = "transmitted"});
  const Bytes block(bytes.begin() + 4, bytes.end());
  expect_whole(block, 6);
  EXPECT_EQ(word(block, 8), 3u);
  EXPECT_EQ(word(block, 12), 0x12345678u);
  EXPECT_EQ(word(block, 16), 0x90abcdefu);
  EXPECT_EQ(word(block, 20), 5u);
  EXPECT_EQ(word(block, 24), 1500u);
  EXPECT_EQ(block[32], 5);
  EXPECT_EQ(block[33], 0);
  EXPECT_EQ(option(block, 36, 1), "transmitted");
  EXPECT_EQ(option(block, 36, 2), std::string("\2\0\0\0", 4));
}

TEST(Pcapng, StatisticsCountWhatIsMissing) {
  Bytes bytes;
  add_statistics(bytes, {.interface = 1, .captured = 10, .missed = 5});
  expect_whole(bytes, 5);
  EXPECT_EQ(option(bytes, 20, 4), std::string("\x0f\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(option(bytes, 20, 5), std::string("\5\0\0\0\0\0\0\0", 8));
}

}  // namespace
}  // namespace vmnat::control::pcapng
