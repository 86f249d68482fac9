// SPDX-License-Identifier: Apache-2.0
// Frames out of a guest's memory and into it, in whatever buffers it gives, good and bad; in rings of both formats.
#include <bit>
#include <csignal>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <rte_mempool.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dataplane/device/claims.h"
#include "dataplane/device/guest_queue.h"
#include "dataplane/device/offload.h"
#include "tests/support/fake_guest.h"
#include "tests/support/testbed.h"

namespace vmnat::dataplane::virtio {

static bool operator==(const UsedElement& a, const UsedElement& b) {
  return a.head == b.head && a.length == b.length;
}
static void PrintTo(const UsedElement& element, std::ostream* out) {
  *out << "{head " << element.head << ", length " << element.length << "}";
}

}  // namespace vmnat::dataplane::virtio

namespace vmnat::test {
namespace {

using dataplane::is_super_frame;
using dataplane::is_unfinished;
using dataplane::virtio::Descriptor;
using dataplane::virtio::NetHeader;
using dataplane::virtio::UsedElement;
using net::TcpHeader;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
namespace virtio = dataplane::virtio;

constexpr std::uint32_t kHeader = sizeof(NetHeader);
constexpr std::uint64_t kMergeable = virtio::kVersion1 | virtio::kMergeableBuffers;

Bytes pattern(std::size_t bytes, unsigned seed = 1) {
  Bytes made(bytes);
  for (std::size_t i = 0; i < bytes; ++i) made[i] = static_cast<std::byte>(i * 7 + seed);
  return made;
}
Bytes joined(const Bytes& a, const Bytes& b) {
  Bytes both = a;
  both.insert(both.end(), b.begin(), b.end());
  return both;
}
Bytes behind(const NetHeader& header, const Bytes& frame) {
  Bytes bytes(sizeof header);
  std::memcpy(bytes.data(), &header, sizeof header);
  return joined(bytes, frame);
}
NetHeader header_in(const Bytes& bytes) {
  NetHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  return header;
}
Bytes from(const Bytes& bytes, std::size_t begin) {
  return {bytes.begin() + static_cast<std::ptrdiff_t>(begin), bytes.end()};
}
Bytes content(const rte_mbuf* frame) {
  Bytes bytes;
  for (const rte_mbuf* segment = frame; segment != nullptr; segment = segment->next) {
    const auto* start = rte_pktmbuf_mtod(segment, const std::byte*);
    bytes.insert(bytes.end(), start, start + segment->data_len);
  }
  EXPECT_EQ(bytes.size(), frame->pkt_len);
  return bytes;
}

// As the guest, or its NIC, would do it: the sum from `start` on, into the field.
Bytes with_finished_sum(Bytes frame, std::size_t start, std::size_t field) {
  const net::Be16 sum = net::checksum_of(net::added_sum(std::span(frame).subspan(start)));
  const std::uint16_t raw = sum.raw();
  std::memcpy(frame.data() + start + field, &raw, sizeof raw);
  return frame;
}

struct FreeFrame {
  void operator()(rte_mbuf* frame) const { rte_pktmbuf_free(frame); }
};
using Frame = std::unique_ptr<rte_mbuf, FreeFrame>;

Frame frame_of(const Bytes& bytes, std::size_t of_each_buffer = 2048) {
  return Frame(buffer_of(bytes, of_each_buffer));
}

MATCHER_P(UsedElementIs, length, "") {
  return arg.length == length;
}

// By the features that say what format the ring has.
class Virtqueue : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  struct FakeGuest : test::FakeGuest {
    explicit FakeGuest(std::uint64_t features = virtio::kVersion1, std::uint16_t start = 0,
                       std::uint16_t size = kSize)
        : test::FakeGuest(features | GetParam(), start, size) {}
  };
  void SetUp() override { buffers_before_ = rte_mempool_avail_count(packet_pool()); }
  void TearDown() override {
    EXPECT_EQ(rte_mempool_avail_count(packet_pool()), buffers_before_) << "buffers were lost";
  }
  static std::vector<Frame> take_frames(FakeGuest& guest, std::uint16_t most = 32,
                                        rte_mempool* pool = packet_pool()) {
    std::array<rte_mbuf*, 32> frames{};
    const std::uint16_t count = guest.queue().take(pool, frames.data(), most);
    return {frames.begin(), frames.begin() + count};
  }
  static std::vector<Bytes> take(FakeGuest& guest, std::uint16_t most = 32) {
    std::vector<Bytes> contents;
    for (const Frame& frame : take_frames(guest, most)) contents.push_back(content(frame.get()));
    return contents;
  }
  static dataplane::Transmission transmit(FakeGuest& guest, const std::vector<Bytes>& contents) {
    std::vector<Frame> frames;
    std::vector<rte_mbuf*> plain;
    for (const Bytes& one : contents) plain.push_back(frames.emplace_back(frame_of(one)).get());
    return guest.queue().put(plain.data(), static_cast<std::uint16_t>(plain.size()));
  }
  // How many were sent.
  static unsigned put(FakeGuest& guest, const std::vector<Bytes>& contents) {
    return transmit(guest, contents).sent.size();
  }

 private:
  unsigned buffers_before_ = 0;
};

// ---- out of the guest's memory

TEST_P(Virtqueue, FramesOfAllLengthsComeOutAsTheyWentIn) {
  for (const std::size_t length : {1u, 14u, 31u, 32u, 33u, 60u, 64u, 65u, 127u, 128u, 129u, 1514u, 2048u}) {
    FakeGuest guest;
    guest.offer(2, {guest.place(behind({}, pattern(length)))});
    EXPECT_THAT(take(guest), ElementsAre(pattern(length))) << length;
    EXPECT_THAT(guest.used(), ElementsAre(UsedElement{2, 0}));
  }
}

TEST_P(Virtqueue, BurstsComeInOrderRoundTheRingAndRoundTheIndex) {
  FakeGuest guest(virtio::kVersion1, 65'530);
  for (unsigned round = 0; round < 5; ++round) {
    std::vector<Bytes> sent;
    for (std::uint16_t i = 0; i < 6; ++i) {
      sent.push_back(pattern(60 + i, round * 8 + i));
      guest.offer((i * 3 + 1) % 8, {guest.place(behind({}, sent.back()))});
    }
    EXPECT_EQ(take(guest, 4), std::vector<Bytes>(sent.begin(), sent.begin() + 4));
    EXPECT_EQ(take(guest), std::vector<Bytes>(sent.begin() + 4, sent.end()));
    EXPECT_THAT(take(guest), IsEmpty());
    EXPECT_THAT(guest.used(), ElementsAre(UsedElement{1, 0}, UsedElement{4, 0}, UsedElement{7, 0},
                                          UsedElement{2, 0}, UsedElement{5, 0}, UsedElement{0, 0}));
  }
}

TEST_P(Virtqueue, AHeaderOfItsOwnOrInPiecesIsNoPartOfTheFrame) {
  const Bytes all = behind({}, pattern(100));
  for (const std::size_t cut : {1u, 5u, 12u, 13u, 60u}) {
    FakeGuest guest;
    const Bytes head(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(cut));
    guest.offer(0, {guest.place(head), guest.place(from(all, cut))});
    guest.offer_indirect(3, {guest.place(head), guest.place({}), guest.place(from(all, cut))});
    EXPECT_THAT(take(guest), ElementsAre(pattern(100), pattern(100))) << cut;
    EXPECT_THAT(guest.used(), ElementsAre(UsedElement{0, 0}, UsedElement{3, 0}));
  }
}

TEST_P(Virtqueue, BeforeVirtio1TheHeaderIsShort) {
  FakeGuest guest(0);
  guest.offer(0, {guest.place(joined(Bytes(virtio::kShortNetHeader), pattern(60)))});
  EXPECT_THAT(take(guest), ElementsAre(pattern(60)));
}

TEST_P(Virtqueue, ALongFrameFillsSeveralBuffers) {
  FakeGuest guest;
  const Bytes frame = pattern(60'000);
  guest.offer_indirect(0, {guest.place(behind({}, Bytes(frame.begin(), frame.begin() + 30'000))),
                           guest.place(from(frame, 30'000))});
  EXPECT_THAT(take(guest), ElementsAre(frame));
}

TEST_P(Virtqueue, ABufferMayReachFromOneRegionIntoTheNext) {
  FakeGuest guest;
  const Bytes all = behind({}, pattern(100));
  std::memcpy(guest.here(FakeGuest::kHigh), all.data(), all.size());
  guest.split_high(50);
  guest.offer(0, {{FakeGuest::kHigh, static_cast<std::uint32_t>(all.size())}});
  EXPECT_THAT(take(guest), ElementsAre(pattern(100)));
}

TEST_P(Virtqueue, WithoutBuffersFramesStayWithTheGuest) {
  rte_mempool* small = rte_pktmbuf_pool_create("few", 3, 0, 0, 2048 + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
  ASSERT_NE(small, nullptr);
  {
    FakeGuest guest;
    guest.offer(0, {guest.place(behind({}, pattern(60)))});
    guest.offer_indirect(1, {guest.place(behind({}, pattern(5'000)))});
    auto frames = take_frames(guest, 32, small);
    ASSERT_THAT(frames, SizeIs(1));  // the second one needs three
    EXPECT_THAT(guest.used(), ElementsAre(UsedElement{0, 0}));
    EXPECT_EQ(rte_mempool_avail_count(small), 2u);
    frames.clear();
    frames = take_frames(guest, 32, small);
    ASSERT_THAT(frames, SizeIs(1));
    EXPECT_EQ(content(frames[0].get()), pattern(5'000));
  }
  rte_mempool_free(small);
}

TEST_P(Virtqueue, ChainsThatMakeNoFrameComeOutEmptyAndGoBack) {
  struct Bad {
    const char* what;
    std::function<void(FakeGuest&)> offer;
  };
  const Bad all[] = {
      {"no descriptor of the ring", [](FakeGuest& guest) { guest.offer_head(8); }},
      {"not the guest's memory",
       [](FakeGuest& guest) {
         guest.offer(1, {{0xdead0000, 100}});
       }},
      {"beyond the end of its memory",
       [](FakeGuest& guest) {
         guest.offer(1, {{FakeGuest::kLow + FakeGuest::kBytes - 50, 100}});
       }},
      {"round and round",
       [](FakeGuest& guest) {
         const auto piece = guest.place(pattern(50));
         guest.descriptor(1) = {piece.address, piece.length, Descriptor::kNext, 2};
         guest.descriptor(2) = {piece.address, piece.length, Descriptor::kNext, 1};
         guest.offer_head(1);
       }},
      {"on to no descriptor",
       [](FakeGuest& guest) {
         const auto piece = guest.place(pattern(50));
         guest.descriptor(1) = {piece.address, piece.length, Descriptor::kNext, 9};
         guest.offer_head(1);
       }},
      {"the header alone", [](FakeGuest& guest) { guest.offer(1, {guest.place(Bytes(kHeader))}); }},
      {"not even the header", [](FakeGuest& guest) { guest.offer(1, {guest.place(Bytes(3))}); }},
      {"of no length",
       [](FakeGuest& guest) {
         guest.offer(1, {{FakeGuest::kLow, 0}});
       }},
      {"longer than any packet",
       [](FakeGuest& guest) {
         guest.offer(1, {guest.place(Bytes(60'000)), guest.place(Bytes(10'000))});
       }},
      {"a table that is not there",
       [](FakeGuest& guest) {
         guest.descriptor(1) = {0xdead0000, 32, Descriptor::kIndirect, 0};
         guest.offer_head(1);
       }},
      {"a table of no entries",
       [](FakeGuest& guest) {
         guest.descriptor(1) = {FakeGuest::kLow, 0, Descriptor::kIndirect, 0};
         guest.offer_head(1);
       }},
      {"a table in a table",
       [](FakeGuest& guest) {
         guest.offer_indirect(1, {guest.place(pattern(50))});
         const Bytes inner = guest.entry({FakeGuest::kLow, 16, Descriptor::kIndirect, 0});
         std::memcpy(guest.here(guest.descriptor(1).address), inner.data(), inner.size());
       }},
  };
  for (const Bad& bad : all) {
    FakeGuest guest;
    bad.offer(guest);
    EXPECT_THAT(take(guest), ElementsAre(Bytes())) << bad.what;
    EXPECT_THAT(guest.used(), SizeIs(1)) << bad.what;
    guest.offer(5, {guest.place(behind({}, pattern(60)))});
    EXPECT_THAT(take(guest), ElementsAre(pattern(60))) << bad.what;
  }
}

TEST_P(Virtqueue, AnIndexFarAheadIsTakenForAFullRing) {
  FakeGuest guest;
  for (unsigned i = 0; i < 1000; ++i) guest.offer(i % 8, {guest.empty_frame()});
  for (unsigned round = 0; round < 10; ++round) EXPECT_LE(take(guest).size(), 8u);
}

TEST_P(Virtqueue, WhatAGuestLeavesUndoneIsMarked) {
  FakeGuest guest;
  const Bytes udp = Packet().from(vm_mac(1), "192.168.122.10", 1).to(kRedMac, "198.51.100.7", 2).frame();
  const Bytes tcp = Packet()
                        .from(vm_mac(1), "192.168.122.10", 1)
                        .to(kRedMac, "198.51.100.7", 2)
                        .tcp(TcpHeader::kAck)
                        .payload(5'000)
                        .frame();
  guest.offer(
      0, {guest.place(
             behind({.flags = NetHeader::kNeedsChecksum, .checksum_start = 34, .checksum_offset = 6}, udp))});
  guest.offer(1, {guest.place(behind({.flags = NetHeader::kNeedsChecksum,
                                      .segmentation = NetHeader::kTcp4,
                                      .segment_size = 1448,
                                      .checksum_start = 34,
                                      .checksum_offset = 16},
                                     tcp))});
  const auto frames = take_frames(guest);
  ASSERT_THAT(frames, SizeIs(2));
  EXPECT_TRUE(is_unfinished(frames[0].get()));
  EXPECT_FALSE(is_super_frame(frames[0].get()));
  EXPECT_TRUE(is_super_frame(frames[1].get()));
  EXPECT_EQ(frames[1]->tso_segsz, 1448);
}

TEST_P(Virtqueue, AChecksumOfAnotherProtocolIsFinishedAtOnce) {
  FakeGuest guest;
  Bytes frame = Packet()
                    .from(vm_mac(1), "192.168.122.10")
                    .to(kRedMac, "198.51.100.7")
                    .icmp_echo(net::IcmpType::EchoRequest, 7)
                    .frame();
  const Bytes good = frame;
  frame[36] = frame[37] = std::byte{0};
  const NetHeader sum{.flags = NetHeader::kNeedsChecksum, .checksum_start = 34, .checksum_offset = 2};
  const NetHeader beyond{
      .flags = NetHeader::kNeedsChecksum, .checksum_start = 60'000, .checksum_offset = 60'000};
  guest.offer(0, {guest.place(behind(sum, frame))});
  guest.offer(1, {guest.place(behind(beyond, frame))});
  const auto frames = take_frames(guest);
  ASSERT_THAT(frames, SizeIs(2));
  EXPECT_EQ(content(frames[0].get()), good);
  EXPECT_EQ(content(frames[1].get()), frame);
  EXPECT_FALSE(is_unfinished(frames[0].get()));
  EXPECT_FALSE(dataplane::settle(frames[1].get())) << "there is no such place";
}

// ---- into the guest's memory

TEST_P(Virtqueue, FramesGoInBehindAHeaderOfOneBuffer) {
  FakeGuest guest;
  const FakeGuest::Buffer first = guest.room(2048), second = guest.room(2048);
  std::memset(guest.here(first.address), 0xff, first.length);
  guest.offer(4, {first});
  guest.offer(6, {second});
  EXPECT_EQ(put(guest, {pattern(60), pattern(1514)}), 2u);
  EXPECT_THAT(guest.used(), ElementsAre(UsedElement{4, kHeader + 60}, UsedElement{6, kHeader + 1514}));
  EXPECT_EQ(guest.read({first.address, kHeader + 60}), behind({.buffers = 1}, pattern(60)));
  EXPECT_EQ(guest.read({first.address + kHeader + 60, 1}), Bytes{std::byte{0xff}});  // and nothing beyond
  EXPECT_EQ(guest.read({second.address, kHeader + 1514}), behind({.buffers = 1}, pattern(1514)));
}

TEST_P(Virtqueue, WhatTheGuestHasNoRoomForStaysOutside) {
  FakeGuest guest;
  EXPECT_EQ(put(guest, {pattern(60)}), 0u);
  guest.offer(0, {guest.room(100)});
  guest.offer(1, {guest.room(100)});
  EXPECT_EQ(put(guest, {pattern(60), pattern(88), pattern(60)}), 2u);
  EXPECT_THAT(guest.used(), SizeIs(2));
  guest.offer(2, {guest.room(100)});
  guest.offer(3, {guest.room(100)});
  const dataplane::Transmission result = transmit(guest, {pattern(89)});  // not mergeable
  EXPECT_TRUE(result.sent.is_empty());
  EXPECT_EQ(result.too_long, dataplane::FrameSet::of(1));
  EXPECT_THAT(guest.used(), IsEmpty());
}

TEST_P(Virtqueue, MergeableBuffersTakeAFrameTogether) {
  FakeGuest guest(kMergeable);
  std::vector<FakeGuest::Buffer> buffers;
  for (std::uint16_t i = 0; i < 6; ++i) {
    buffers.push_back(guest.room(1000));
    guest.offer(i, {buffers.back()});
  }
  const Bytes small = pattern(60, 9), large = pattern(2'500);
  EXPECT_EQ(put(guest, {small, large, small, pattern(3'000)}), 3u);  // and one buffer is left
  EXPECT_THAT(guest.used(),
              ElementsAre(UsedElement{0, kHeader + 60}, UsedElement{1, 1000}, UsedElement{2, 1000},
                          UsedElement{3, 512}, UsedElement{4, kHeader + 60}));
  EXPECT_EQ(
      joined(joined(guest.read(buffers[1]), guest.read(buffers[2])), guest.read({buffers[3].address, 512})),
      behind({.buffers = 3}, large));
  EXPECT_EQ(guest.read({buffers[4].address, kHeader + 60}), behind({.buffers = 1}, small));
}

TEST_P(Virtqueue, AFrameInSeveralBuffersGoesIntoAChainOfThem) {
  FakeGuest guest;
  const auto header = guest.room(kHeader), body = guest.room(700), rest = guest.room(4'000);
  guest.offer(0, {header, body, rest});
  const Frame frame = frame_of(pattern(3'000), 1'100);
  rte_mbuf* frames[] = {frame.get()};
  EXPECT_EQ(guest.queue().put(frames, 1).sent.size(), 1u);
  EXPECT_THAT(guest.used(), ElementsAre(UsedElement{0, kHeader + 3'000}));
  EXPECT_EQ(joined(guest.read(body), guest.read({rest.address, 2'300})), pattern(3'000));
  EXPECT_EQ(header_in(guest.read(header)).buffers, 1);
}

TEST_P(Virtqueue, BrokenBuffersGoBackEmptyAndStandInNobodysWay) {
  for (const std::uint64_t features : {virtio::kVersion1, kMergeable}) {
    FakeGuest guest(features);
    guest.offer(0, {{0xdead0000, 2048}});
    guest.offer_head(200);
    const auto good = guest.room(2048);
    guest.offer(2, {good});
    EXPECT_EQ(put(guest, {pattern(60)}), 1u);
    EXPECT_THAT(guest.used(),
                ElementsAre(UsedElement{0, 0}, UsedElement{200, 0}, UsedElement{2, kHeader + 60}));
    EXPECT_EQ(guest.read({good.address, kHeader + 60}), behind({.buffers = 1}, pattern(60)));
  }
}

TEST_P(Virtqueue, ASuperFrameTellsTheGuestWhatIsLeftToDo) {
  FakeGuest guest(kMergeable);
  const auto buffer = guest.room(8'000);
  guest.offer(0, {buffer});
  const Frame frame = frame_of(Packet()
                                   .from(kUplinkMac, "198.51.100.7", 80)
                                   .to(vm_mac(1), "192.168.122.10", 40000)
                                   .tcp(TcpHeader::kAck)
                                   .payload(1'900)
                                   .frame());
  const Bytes before = content(frame.get());
  frame->ol_flags |= RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_NONE;
  frame->tso_segsz = 500;
  ASSERT_TRUE(dataplane::settle(frame.get()));
  ASSERT_EQ(dataplane::prepare_to_leave(frame.get(), {.checksums = true, .tcp4_segments = true}),
            dataplane::Remaining::Nothing);
  rte_mbuf* frames[] = {frame.get()};
  ASSERT_EQ(guest.queue().put(frames, 1).sent.size(), 1u);
  const Bytes got = guest.read({buffer.address, kHeader + static_cast<std::uint32_t>(before.size())});
  const NetHeader header = header_in(got);
  EXPECT_EQ(header.flags, NetHeader::kNeedsChecksum);
  EXPECT_EQ(header.segmentation, NetHeader::kTcp4);
  EXPECT_EQ(header.segment_size, 500);
  EXPECT_EQ(header.headers_length, 54);
  EXPECT_EQ(header.checksum_start, 34);
  EXPECT_EQ(header.checksum_offset, 16);
  // The field holds the pseudo-header's sum with the length, as if it were one segment (5.1.6.2): what the
  // guest adds up from there makes the checksum that the frame had.
  EXPECT_TRUE(has_good_ip_checksum(from(got, kHeader)));
  EXPECT_EQ(with_finished_sum(from(got, kHeader), 34, 16), before);
}

TEST_P(Virtqueue, AFrameTooLongForTheBuffersIsRefusedAlone) {
  FakeGuest guest(virtio::kVersion1, 0, 64);
  for (std::uint16_t i = 0; i < 64; ++i) guest.offer(i, {guest.room(1526)});
  std::vector<Bytes> burst(5, pattern(60));
  burst.push_back(pattern(4'000));
  burst.insert(burst.end(), 20, pattern(60));
  burst.push_back(pattern(1515));
  const dataplane::Transmission result = transmit(guest, burst);
  EXPECT_EQ(result.too_long, dataplane::FrameSet::of(1u << 5 | 1u << 26));
  EXPECT_EQ(result.sent, dataplane::FrameSet::first(26).without(dataplane::FrameSet::of(1u << 5)));
  EXPECT_THAT(guest.used(), AllOf(SizeIs(25), Each(UsedElementIs(kHeader + 60))));
}

TEST_P(Virtqueue, AFrameLongerThanAllMergeableBuffersIsRefusedAlone) {
  FakeGuest guest(kMergeable);
  for (std::uint16_t i = 0; i < 8; ++i) guest.offer(i, {guest.room(1526)});
  const dataplane::Transmission result =
      transmit(guest, {pattern(60'000), pattern(60), pattern(60'000), pattern(5'000), pattern(60)});
  EXPECT_EQ(result.too_long,
            dataplane::FrameSet::of(1));  // the second one may have met a ring that the guest is slow to fill
  EXPECT_EQ(result.sent, dataplane::FrameSet::of(0b11010));
  EXPECT_THAT(guest.used(), SizeIs(1 + 4 + 1));
}

TEST_P(Virtqueue, BuffersTooShortForAnyFrameGoBackUnused) {
  FakeGuest guest;
  guest.offer(0, {guest.room(kHeader)});
  guest.offer(1, {guest.room(kHeader + 59)});
  const auto good = guest.room(2048);
  guest.offer(2, {good});
  EXPECT_EQ(put(guest, {pattern(1000)}), 1u);
  EXPECT_THAT(guest.used(),
              ElementsAre(UsedElement{0, 0}, UsedElement{1, 0}, UsedElement{2, kHeader + 1000}));
}

TEST_P(Virtqueue, ABrokenChainAmongMergeableOnesStandsInNobodysWay) {
  FakeGuest guest(kMergeable);
  guest.offer(0, {guest.room(1000)});
  guest.offer(1, {{0xdead0000, 1000}});
  const auto first = guest.room(1000), second = guest.room(1000);
  guest.offer(2, {first});
  guest.offer(3, {second});
  const Bytes frame = pattern(1500);
  EXPECT_EQ(put(guest, {frame}), 1u);
  EXPECT_THAT(guest.used(), ElementsAre(UsedElement{0, 0}, UsedElement{1, 0}, UsedElement{2, 1000},
                                        UsedElement{3, kHeader + 500}));
  EXPECT_EQ(joined(guest.read(first), guest.read({second.address, kHeader + 500})),
            behind({.buffers = 2}, frame));
}

TEST_P(Virtqueue, TheNumberOfBuffersIsToldThoughTheHeaderItselfIsInPieces) {
  for (const std::uint32_t cut : {1u, 9u, 10u, 11u}) {
    FakeGuest guest(kMergeable);
    const auto head = guest.room(cut), rest = guest.room(1000), more = guest.room(1000);
    guest.offer(0, {head, rest});
    guest.offer(4, {more});
    ASSERT_EQ(put(guest, {pattern(1500)}), 1u);
    const std::uint32_t of_second = kHeader + 1500 - cut - 1000;
    EXPECT_EQ(joined(joined(guest.read(head), guest.read(rest)), guest.read({more.address, of_second})),
              behind({.buffers = 2}, pattern(1500)))
        << cut;
  }
}

// ---- bounds of what a guest can make long

// In a packed ring chains do not overlap.
bool holds_more_than_a_call_does(const FakeGuest& guest) {
  return !guest.is_packed() || guest.size() > 1024;
}

constexpr unsigned kAllowed = dataplane::VirtqueueBudget::kDescriptorsPerCall;
unsigned allowed_for(unsigned frames, std::uint32_t bytes_each) {
  using dataplane::VirtqueueBudget;
  return kAllowed + frames * (VirtqueueBudget::kDescriptorsPerFrame +
                              (kHeader + bytes_each) / VirtqueueBudget::kBytesPerDescriptor);
}

TEST_P(Virtqueue, ACallReadsABoundedNumberOfDescriptorsOfReceiveChains) {
  for (const std::uint64_t features : {virtio::kVersion1, kMergeable})
    for (const std::uint16_t size : {256, 1024, 32768})
      for (const std::uint32_t bytes_each : {0u, 1u}) {
        FakeGuest guest(features, 0, size);
        std::uint64_t before = 0;
        for (unsigned call = 0; call < 100; ++call) {
          guest.offer_endless_chains(bytes_each);
          put(guest, std::vector<Bytes>(32, pattern(60)));
          const std::uint64_t walked = guest.queue().descriptors_walked();
          ASSERT_LE(walked - before, allowed_for(32, 60)) << size << " of " << bytes_each << " bytes";
          before = walked;
        }
        EXPECT_TRUE(bytes_each != 0 || !holds_more_than_a_call_does(guest) || guest.deferrals() > 0);
      }
}

TEST_P(Virtqueue, ACallReadsABoundedNumberOfDescriptorsOfTransmitChains) {
  for (const std::uint16_t size : {256, 1024, 32768})
    for (const std::uint32_t bytes_each : {0u, 1u, 60u}) {
      FakeGuest guest(virtio::kVersion1, 0, size);
      std::uint64_t before = 0;
      for (unsigned call = 0; call < 100; ++call) {
        guest.offer_endless_chains(bytes_each);
        const auto frames = take_frames(guest);
        ASSERT_GE(frames.size(), 1u) << "the ring goes on";
        const std::uint64_t walked = guest.queue().descriptors_walked();
        ASSERT_LE(walked - before, kAllowed) << size << " of " << bytes_each << " bytes";
        before = walked;
      }
      EXPECT_TRUE(!holds_more_than_a_call_does(guest) || guest.deferrals() > 0);
    }
}

TEST_P(Virtqueue, ATableOfManyDescriptorsIsReadAsFarAsAnyFrameNeeds) {
  FakeGuest guest(virtio::kVersion1, 0, 1024);
  const FakeGuest::Buffer table =
      guest.room(1024 * sizeof(Descriptor));  // each of no bytes, leading to the first
  for (unsigned i = 0; i < 1024; ++i) {
    const Bytes entry = guest.entry({FakeGuest::kHigh, 0, Descriptor::kNext, 0});
    std::memcpy(guest.here(table.address + i * entry.size()), entry.data(), entry.size());
  }
  for (std::uint16_t i = 0; i < 1024; ++i) {
    guest.descriptor(i) = {table.address, table.length, Descriptor::kIndirect, 0};
    guest.offer_head(i);
  }
  EXPECT_THAT(take(guest), Each(Bytes()));
  EXPECT_LE(guest.queue().descriptors_walked(), kAllowed);
}

TEST_P(Virtqueue, ACallCopiesABoundedNumberOfBytesAndTheRestWaitsInTheRing) {
  FakeGuest guest(virtio::kVersion1, 0, 64);
  for (std::uint16_t i = 0; i < 32; ++i) guest.offer(i, {{FakeGuest::kHigh, kHeader + 60'000}});
  unsigned taken = 0;
  for (unsigned call = 0; call < 32 && taken < 32; ++call) {
    std::uint64_t bytes = 0;
    const auto frames = take_frames(guest);
    for (const Frame& frame : frames) bytes += frame->pkt_len;
    EXPECT_LE(bytes, dataplane::VirtqueueBudget::kBytesPerCall + 60'000);
    taken += static_cast<unsigned>(frames.size());
  }
  EXPECT_EQ(taken, 32u);
  EXPECT_THAT(guest.used(), SizeIs(32));
  EXPECT_GE(guest.deferrals(), 9u);
}

TEST_P(Virtqueue, LongFramesInManyPiecesPassBothWays) {
  for (const std::uint32_t piece : {1'500u, 1'024u, 4'096u, 300u}) {
    const Bytes frame = pattern(65'000);
    const Bytes all = behind({}, frame);
    FakeGuest guest(virtio::kVersion1, 0, 1024);
    std::vector<FakeGuest::Buffer> chain;
    for (std::size_t at = 0; at < all.size(); at += piece) {
      const std::size_t end = std::min<std::size_t>(at + piece, all.size());
      chain.push_back(guest.place(
          {all.begin() + static_cast<std::ptrdiff_t>(at), all.begin() + static_cast<std::ptrdiff_t>(end)}));
    }
    for (unsigned i = 0; i < 4; ++i) guest.offer(0, chain);
    std::vector<Bytes> came;
    for (unsigned call = 0; call < 4; ++call)
      for (Bytes& one : take(guest)) came.push_back(std::move(one));
    EXPECT_THAT(came, AllOf(SizeIs(4), Each(frame))) << piece;
    guest.used();
    guest.offer(0, chain);
    EXPECT_EQ(put(guest, {frame}), 1u) << piece;
    EXPECT_THAT(guest.used(), ElementsAre(UsedElement{0, kHeader + 65'000}));
  }
}

TEST_P(Virtqueue, ABurstOfSuperFramesGoesIntoMergeableBuffersWithinTheBudget) {
  FakeGuest guest(kMergeable, 0, 1024);
  for (std::uint16_t i = 0; i < 1024; ++i) guest.offer(i, {{FakeGuest::kHigh, 1526}});
  EXPECT_EQ(put(guest, std::vector<Bytes>(20, pattern(65'000))), 20u);
  EXPECT_EQ(guest.deferrals(), 0u);
}

TEST_P(Virtqueue, ChainsAreNotWalkedAgainForEachFrameThatTheyCannotHold) {
  FakeGuest guest(kMergeable, 0, 64);
  for (std::uint16_t i = 0; i < 32; ++i) guest.offer(i, {guest.room(100)});
  EXPECT_EQ(put(guest, std::vector<Bytes>(32, pattern(9'000))), 0u);
  EXPECT_LE(guest.queue().descriptors_walked(), 32u);
}

// Only memory that cannot be touched behind it shows that a byte more is read.
TEST_P(Virtqueue, AShortHeaderIsReadUpToItsEnd) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* const mapped = mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  ASSERT_EQ(mprotect(static_cast<std::byte*>(mapped) + page, page, PROT_NONE), 0);
  for (const std::uint32_t frame : {1u, 2u, 3u}) {
    FakeGuest guest(0);
    guest.move_low(static_cast<std::byte*>(mapped), page);
    const std::uint32_t bytes = virtio::kShortNetHeader + frame;
    guest.offer(0, {{FakeGuest::kLow + page - bytes, bytes}});
    EXPECT_THAT(take(guest), ElementsAre(Bytes(frame)));
    guest.offer(1, {{FakeGuest::kLow + page - bytes, 3}, {FakeGuest::kLow + page - bytes + 3, bytes - 3}});
    EXPECT_THAT(take(guest), ElementsAre(Bytes(frame)));
  }
  munmap(mapped, 2 * page);
}

TEST_P(Virtqueue, AHeaderThatIsNotWholeLeavesNothingUndone) {
  FakeGuest guest;
  guest.offer(0, {guest.place(Bytes(7, std::byte{0xff}))});
  const auto frames = take_frames(guest);
  ASSERT_THAT(frames, SizeIs(1));
  EXPECT_EQ(frames[0]->pkt_len, 0u);
  EXPECT_FALSE(is_unfinished(frames[0].get()));
}

// ---- calls

class Calls : public Virtqueue {
 protected:
  Calls() : fd_(eventfd(0, EFD_NONBLOCK)) {}
  ~Calls() override { close(fd_); }
  // Since the last time.
  bool was_called() {
    eventfd_t count = 0;
    return eventfd_read(fd_, &count) == 0;
  }
  void send_one(FakeGuest& guest) {
    guest.offer(0, {guest.empty_frame()});
    take(guest);
  }
  int fd_;
};

TEST_P(Calls, AGuestIsCalledUnlessItForbidsThat) {
  FakeGuest guest;
  guest.reopen(fd_);
  take(guest);
  EXPECT_FALSE(was_called());  // nothing was used
  send_one(guest);
  EXPECT_TRUE(was_called());
  guest.forbid_calls();
  send_one(guest);
  EXPECT_FALSE(was_called());
}

TEST_P(Calls, AnEventfdThatIsFullIsNotWaitedFor) {
  FakeGuest guest;
  guest.reopen(fd_);
  ASSERT_EQ(eventfd_write(fd_, ~eventfd_t{0} - 1), 0);
  send_one(guest);  // returns
  EXPECT_TRUE(was_called());
  send_one(guest);
  EXPECT_TRUE(was_called());
}

TEST_P(Calls, APipeThatNobodyReadsAnyMoreIsLeftAlone) {
  std::signal(SIGPIPE, SIG_IGN);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  FakeGuest guest;
  guest.reopen(ends[1]);
  close(ends[0]);
  send_one(guest);
  ASSERT_EQ(dup2(fd_, ends[1]), ends[1]);  // what stands there now is not written to
  send_one(guest);
  EXPECT_FALSE(was_called());
  close(ends[1]);
}

TEST_P(Calls, WithEventIndicesAGuestIsCalledWhenTheIndexIsPassed) {
  FakeGuest guest(virtio::kVersion1 | virtio::kEventIndex);
  guest.reopen(fd_);
  guest.call_at(3);
  send_one(guest);
  EXPECT_TRUE(was_called());  // the first time in any case: what it saw before is not known
  for (const bool expected : {false, false, true, false}) {
    send_one(guest);
    EXPECT_EQ(was_called(), expected);
  }
}

TEST(GuestQueue, MovesNothingWithoutRings) {
  dataplane::GuestQueue queue;
  rte_mbuf* frames[1] = {nullptr};
  EXPECT_EQ(queue.take(packet_pool(), frames, 1), 0);
  const Frame frame = frame_of(pattern(60));
  frames[0] = frame.get();
  EXPECT_TRUE(queue.put(frames, 1).sent.is_empty());
}

TEST(GuestQueue, LeavesOtherKindsOfRingsToLibrteVhost) {
  EXPECT_TRUE(dataplane::GuestQueue::can_drive(kMergeable | virtio::kEventIndex));
  EXPECT_TRUE(dataplane::GuestQueue::can_drive(kMergeable | virtio::kPackedRing));
  for (const std::uint64_t feature : {virtio::kLogAll, virtio::kIommuPlatform})
    EXPECT_FALSE(dataplane::GuestQueue::can_drive(kMergeable | feature));
}

std::string name_of(const ::testing::TestParamInfo<std::uint64_t>& format) {
  return format.param == 0 ? "Split" : "Packed";
}
INSTANTIATE_TEST_SUITE_P(Rings, Virtqueue, ::testing::Values(0, virtio::kPackedRing), name_of);
INSTANTIATE_TEST_SUITE_P(Rings, Calls, ::testing::Values(0, virtio::kPackedRing), name_of);

}  // namespace
}  // namespace vmnat::test
