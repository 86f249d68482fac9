// SPDX-License-Identifier: Apache-2.0
// A DPDK device whose frames are several ports': who gets which, in what order, and what becomes of the others.
#include "dataplane/device/trunk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <optional>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>

#include "tests/support/tags.h"
#include "tests/support/testbed.h"

namespace vmnat::test {
namespace {

using dataplane::BurstPort;
using dataplane::kNoVlan;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr unsigned kBurst = dataplane::kBurstSize;

// A device of net_ring, whose receive queue is the test's, with a trunk. Frames are numbers within a VLAN.
class TrunkOfRing : public testing::Test {
 protected:
  TrunkOfRing() : pool_(packet_pool()), free_before_(rte_mempool_avail_count(pool_)) {
    static unsigned count = 0;
    const std::string name = "trunk" + std::to_string(count++);
    wire_ = rte_ring_create(name.c_str(), 2048, SOCKET_ID_ANY, 0);
    port_id_ = static_cast<std::uint16_t>(rte_eth_from_rings(name.c_str(), &wire_, 1, &wire_, 1, 0));
    const rte_eth_conf conf{};
    rte_eth_dev_configure(port_id_, 1, 1, &conf);
    rte_eth_rx_queue_setup(port_id_, 0, 64, 0, nullptr, pool_);
    rte_eth_tx_queue_setup(port_id_, 0, 64, 0, nullptr);
    rte_eth_dev_start(port_id_);
    trunk_.emplace(port_id_);
  }
  ~TrunkOfRing() override {
    trunk_.reset();
    rte_eth_dev_stop(port_id_);
    rte_eth_dev_close(port_id_);
    void* frame = nullptr;
    while (rte_ring_dequeue(wire_, &frame) == 0) rte_pktmbuf_free(static_cast<rte_mbuf*>(frame));
    rte_ring_free(wire_);
    EXPECT_EQ(rte_mempool_avail_count(pool_), free_before_) << "buffers are lost";
  }

  static Bytes numbered(std::uint8_t number) {
    Bytes frame(60);
    frame.back() = std::byte{number};
    return frame;
  }
  void arrive(const Bytes& frame) { put(buffer_of(frame)); }
  void arrive(std::uint16_t vlan, std::uint8_t number) { arrive(tagged(numbered(number), vlan)); }
  void arrive_stripped(std::uint16_t vlan, std::uint8_t number) {
    rte_mbuf* const frame = buffer_of(numbered(number));
    frame->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
    frame->vlan_tci = vlan;
    put(frame);
  }
  void put(rte_mbuf* frame) { ASSERT_EQ(rte_ring_enqueue(wire_, frame), 0); }
  // The numbers of what a member receives, as workers do.
  std::vector<int> received(std::uint16_t vlan, std::uint16_t most = kBurst) {
    rte_mbuf* frames[kBurst];
    const BurstPort port{.port_id = port_id_, .vlan = vlan, .trunk = &*trunk_};
    const unsigned count = port.receive(0, pool_, frames, most);
    std::vector<int> numbers;
    for (unsigned i = 0; i < count; ++i) {
      numbers.push_back(*rte_pktmbuf_mtod_offset(frames[i], std::uint8_t*, frames[i]->data_len - 1));
      rte_pktmbuf_free(frames[i]);
    }
    return numbers;
  }
  [[nodiscard]] unsigned waiting() const { return rte_ring_count(wire_); }

  rte_mempool* pool_;
  unsigned free_before_;
  rte_ring* wire_ = nullptr;
  std::uint16_t port_id_ = 0;
  std::optional<dataplane::Trunk> trunk_;
};

TEST_F(TrunkOfRing, EachMemberGetsItsFramesInTheirOrderWhoeverAsks) {
  for (const std::uint16_t vlan : {10, 20, 4094}) trunk_->join(vlan);
  const std::pair<std::uint16_t, std::uint8_t> came[] = {{20, 1},   {10, 1}, {20, 2},
                                                         {4094, 1}, {10, 2}, {20, 3}};
  for (const auto& [vlan, number] : came) arrive(vlan, number);
  EXPECT_THAT(received(10), ElementsAre(1, 2));
  EXPECT_THAT(received(20, 2), ElementsAre(1, 2)) << "no more than it wants";
  EXPECT_THAT(received(4094), ElementsAre(1));
  EXPECT_THAT(received(20), ElementsAre(3));
  for (const std::uint16_t vlan : {10, 20, 4094}) EXPECT_THAT(received(vlan), IsEmpty()) << vlan;
}

TEST_F(TrunkOfRing, ATagBesideTheFrameAndAPriorityChangeNothing) {
  for (const std::uint16_t vlan : {10, 20}) trunk_->join(vlan);
  arrive_stripped(20, 1);
  arrive_stripped(0x6000 | 10, 2);
  arrive(0xa000 | 20, 3);
  EXPECT_THAT(received(10), ElementsAre(2));
  EXPECT_THAT(received(20), ElementsAre(1, 3));
}

TEST_F(TrunkOfRing, FramesOfNobodysVlanAndOfNoneGoToWhoAsksToBeDroppedThere) {
  for (const std::uint16_t vlan : {10, 20}) trunk_->join(vlan);
  arrive(11, 1);
  arrive(numbered(2));
  arrive(kNoVlan, 3);
  arrive_stripped(4095, 4);
  arrive(20, 5);
  EXPECT_THAT(received(20), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_THAT(received(10), IsEmpty());
}

TEST_F(TrunkOfRing, TheDeviceIsAskedOnceATurn) {
  for (const std::uint16_t vlan : {10, 20, 30}) trunk_->join(vlan);
  const auto turn = [&] {
    for (const std::uint16_t vlan : {10, 20, 30}) received(vlan);
  };
  turn();
  for (unsigned i = 0; i < 5 * kBurst; ++i) arrive(30, 1);
  for (unsigned left = 4; left > 0; --left) {
    turn();
    EXPECT_EQ(waiting(), left * kBurst) << "what cannot be worked off yet stays in the device";
  }
  EXPECT_EQ(trunk_->frames_missed(30), 0u);
}

TEST_F(TrunkOfRing, NothingIsLostOfAMemberThatTakesHalfOfWhatABurstMayBring) {
  for (const std::uint16_t vlan : {10, 20}) trunk_->join(vlan);
  constexpr unsigned sent = 2 * dataplane::Trunk::kStashSize;
  for (unsigned i = 0; i < sent; ++i) arrive(20, 1);
  unsigned taken = 0;
  for (unsigned turn = 0; turn < 4 * sent / kBurst; ++turn) {
    EXPECT_THAT(received(10), IsEmpty());
    taken += static_cast<unsigned>(received(20, kBurst / 2).size());
  }
  EXPECT_EQ(taken, sent);
  EXPECT_EQ(trunk_->frames_missed(20), 0u);
}

TEST_F(TrunkOfRing, AMemberThatTakesLittleDelaysNobody) {
  for (const std::uint16_t vlan : {10, 20}) trunk_->join(vlan);
  for (std::uint8_t i = 0; i < 2 * kBurst; ++i) arrive(i % 2 == 0 ? 20 : 10, i);
  EXPECT_EQ(received(10).size(), kBurst / 2);
  EXPECT_EQ(received(20, 1).size(), 1u);
  EXPECT_EQ(received(10).size(), kBurst / 2);
}

TEST_F(TrunkOfRing, AMemberThatTakesNothingLosesWhatItHasNoRoomForAndOthersLoseNothing) {
  for (const std::uint16_t vlan : {10, 20}) trunk_->join(vlan);
  constexpr unsigned more = 40;
  unsigned others = 0;
  for (unsigned i = 0; i < dataplane::Trunk::kStashSize + more; ++i) {
    arrive(20, static_cast<std::uint8_t>(i));
    arrive(10, static_cast<std::uint8_t>(i));
    others += static_cast<unsigned>(received(10).size());
  }
  EXPECT_EQ(others, dataplane::Trunk::kStashSize + more);
  EXPECT_EQ(trunk_->frames_missed(10), 0u);
  EXPECT_EQ(trunk_->frames_missed(20), more);
  for (unsigned i = 0; i < dataplane::Trunk::kStashSize; i += kBurst)
    EXPECT_EQ(received(20).front(), static_cast<int>(i)) << "the oldest are those that stay";
  EXPECT_THAT(received(20), IsEmpty());
}

TEST_F(TrunkOfRing, WhoLeavesGetsNothingMoreAndWhatWaitedForItIsFreed) {
  for (const std::uint16_t vlan : {10, 20}) trunk_->join(vlan);
  arrive(20, 1);
  EXPECT_THAT(received(10), IsEmpty()) << "it has asked for both";
  const unsigned before = rte_mempool_avail_count(pool_);
  trunk_->leave(20);
  EXPECT_FALSE(trunk_->is_in_use());
  trunk_->forget(20);
  EXPECT_EQ(rte_mempool_avail_count(pool_), before + 1);
  arrive(20, 2);
  EXPECT_THAT(received(10), ElementsAre(2)) << "to be dropped as nobody's";
  trunk_->join(20);
  arrive(20, 3);
  EXPECT_THAT(received(10), IsEmpty());
  EXPECT_THAT(received(20), ElementsAre(3)) << "back, with nothing of before";
}

TEST_F(TrunkOfRing, WhatStillWaitsIsFreedWithTheTrunk) {
  trunk_->join(10);
  for (std::uint8_t number = 0; number < 8; ++number) arrive(10, number);
  EXPECT_THAT(received(10, 1), ElementsAre(0));
}

}  // namespace
}  // namespace vmnat::test
