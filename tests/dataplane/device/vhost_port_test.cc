// SPDX-License-Identifier: Apache-2.0
// A guest's port as workers see it: what its VMM wants announced, and what becomes of frames for it.
#include "dataplane/device/vhost_port.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rte_mempool.h>

#include "tests/support/fake_guest.h"
#include "tests/support/testbed.h"

namespace vmnat::test {
namespace {

namespace virtio = dataplane::virtio;

constexpr net::MacAddr kVm{{0x52, 0x54, 0, 0xaa, 0, 1}};

class VhostPort : public ::testing::Test {
 protected:
  VhostPort() {
    port_.attach(virtio::kVersion1);
    port_.resume(dataplane::VhostPort::kDrivenHere);
    for (unsigned ring = 0; ring < 4; ++ring) port_.set_enabled(ring, true);
  }
  Bytes receive(std::uint16_t queue) {
    std::array<rte_mbuf*, 32> frames{};
    const std::uint16_t count = port_.receive(queue, packet_pool(), frames.data(), 32);
    if (count == 0) return {};
    EXPECT_EQ(count, 1);
    const auto* bytes = rte_pktmbuf_mtod(frames[0], const std::byte*);
    Bytes content(bytes, bytes + frames[0]->pkt_len);
    rte_pktmbuf_free(frames[0]);
    return content;
  }
  dataplane::VhostPort port_;
};

TEST_F(VhostPort, AnAnnouncementComesOnceAsAFrameOfTheGuests) {
  port_.announce(kVm);
  EXPECT_EQ(receive(1), Bytes());  // by the first queue alone
  const Bytes frame = receive(0);
  ASSERT_EQ(frame.size(), 60u);
  const std::uint8_t expected[42] = {
      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0xaa, 0, 1,    0x80, 0x35, 0,    1, 8, 0, 6, 4, 0,
      3,    0x52, 0x54, 0,    0xaa, 0,    1,    0,    0, 0,    0, 0x52, 0x54, 0,    0xaa, 0, 1, 0, 0, 0, 0};
  EXPECT_EQ(std::memcmp(frame.data(), expected, sizeof expected), 0);
  EXPECT_EQ(receive(0), Bytes());
}

TEST_F(VhostPort, WithoutABufferAnAnnouncementIsLostAndNothingElse) {
  rte_mempool* none = rte_pktmbuf_pool_create("one", 1, 0, 0, 2048 + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
  ASSERT_NE(none, nullptr);
  rte_mbuf* const only = rte_pktmbuf_alloc(none);
  port_.announce(kVm);
  rte_mbuf* frames[1] = {nullptr};
  EXPECT_EQ(port_.receive(0, none, frames, 1), 0);
  rte_pktmbuf_free(only);
  rte_mempool_free(none);
}

TEST_F(VhostPort, WhatWasSentIsFreedAndTheRestStaysTheCallers) {
  const unsigned before = rte_mempool_avail_count(packet_pool());
  FakeGuest guest;
  for (std::uint16_t i = 0; i < 3; ++i) guest.offer(i, {guest.room(100)});
  port_.queue(0) = guest.queue();
  std::array<rte_mbuf*, 5> frames{};
  for (std::size_t i = 0; i < frames.size(); ++i) frames[i] = buffer_of(Bytes(i == 1 ? 1000 : 60));
  const dataplane::Transmission result = port_.transmit(0, frames.data(), frames.size());
  EXPECT_EQ(result.sent, dataplane::FrameSet::of(0b01101));
  EXPECT_EQ(result.too_long, dataplane::FrameSet::of(0b00010));
  EXPECT_EQ(rte_mempool_avail_count(packet_pool()), before - 2);
  rte_pktmbuf_free(frames[1]);
  rte_pktmbuf_free(frames[4]);
}

}  // namespace
}  // namespace vmnat::test
