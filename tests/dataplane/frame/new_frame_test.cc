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

}  // namespace
}  // namespace vmnat::test
