// SPDX-License-Identifier: Apache-2.0
#include "dataplane/frame/new_frame.h"

#include <gtest/gtest.h>

#include "tests/support/testbed.h"

namespace vmnat::test {
namespace {

// Control's frames are copies of what guests sent: 16 bits do not hold their lengths.
TEST(NewFrame, IsNoneThatDoesNotFitWhateverTheLowBitsOfItsLength) {
  rte_mempool* pool = packet_pool();
  const unsigned before = rte_mempool_avail_count(pool);
  for (std::size_t size = 65'535; size <= 65'536 + 64; ++size)
    EXPECT_EQ(dataplane::new_frame(Bytes(size), pool), nullptr) << size;
  EXPECT_EQ(dataplane::new_frame(Bytes(2049), pool), nullptr);
  EXPECT_EQ(dataplane::new_frame(Bytes(1u << 20), pool), nullptr);
  EXPECT_EQ(rte_mempool_avail_count(pool), before) << "every buffer came back";
  Bytes frame(2048);
  frame.back() = std::byte{0x5a};
  rte_mbuf* made = dataplane::new_frame(frame, pool);
  ASSERT_NE(made, nullptr);
  EXPECT_EQ(made->pkt_len, 2048u);
  EXPECT_EQ(rte_pktmbuf_mtod(made, const std::byte*)[2047], std::byte{0x5a});
  rte_pktmbuf_free(made);
}

// What a driver, a guest's header or a VLAN may leave in a buffer, its next frame does not have.
TEST(NewFrames, AreAsDpdkMakesThem) {
  constexpr unsigned kCount = 7;  // no multiple of what is stored together
  rte_mbuf* used[kCount];
  ASSERT_TRUE(dataplane::new_frames(packet_pool(), used, kCount));
  for (rte_mbuf* frame : used) {
    frame->ol_flags = RTE_MBUF_F_RX_VLAN_STRIPPED | RTE_MBUF_F_TX_TCP_SEG;
    frame->tx_offload = ~std::uint64_t{0};
    frame->packet_type = frame->vlan_tci = frame->port = 5;
    frame->data_len = 100;
    frame->pkt_len = 100;
    frame->data_off = 3;
  }
  rte_pktmbuf_free_bulk(used, kCount);
  rte_mbuf* frames[kCount];
  ASSERT_TRUE(dataplane::new_frames(packet_pool(), frames, kCount));
  rte_mbuf* const expected = rte_pktmbuf_alloc(packet_pool());
  for (const rte_mbuf* frame : frames) {
    EXPECT_EQ(frame->data_off, expected->data_off);
    EXPECT_EQ(rte_mbuf_refcnt_read(frame), 1);
    EXPECT_EQ(frame->nb_segs, 1);
    EXPECT_EQ(frame->next, nullptr);
    EXPECT_EQ(frame->port, expected->port);
    EXPECT_EQ(frame->ol_flags, 0u);
    EXPECT_EQ(frame->tx_offload, 0u);
    EXPECT_EQ(frame->packet_type, 0u);
    EXPECT_EQ(frame->vlan_tci, 0u);
    EXPECT_EQ(frame->data_len, 0u);
    EXPECT_EQ(frame->pkt_len, 0u);
    EXPECT_EQ(frame->buf_len, expected->buf_len);
    EXPECT_EQ(frame->pool, packet_pool());
  }
  rte_pktmbuf_free(expected);
  rte_pktmbuf_free_bulk(frames, kCount);
}

TEST(NewFrames, AllOrNone) {
  rte_mempool* const pool = rte_pktmbuf_pool_create("all_or_none", 15, 0, 0, 2048, SOCKET_ID_ANY);
  ASSERT_NE(pool, nullptr);
  rte_mbuf* frames[16];
  EXPECT_FALSE(dataplane::new_frames(pool, frames, 16));
  ASSERT_TRUE(dataplane::new_frames(pool, frames, 15));
  EXPECT_FALSE(dataplane::new_frames(pool, frames + 15, 1));
  rte_pktmbuf_free_bulk(frames, 15);
  rte_mempool_free(pool);
}

}  // namespace
}  // namespace vmnat::test
