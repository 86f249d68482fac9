// SPDX-License-Identifier: Apache-2.0
// What wakes the worker of a kernel interface. The interface is a TAP's queue, whose other end is a socket of ours.
#include <array>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

#include "dataplane/worker/wake_set.h"
#include "tests/support/testbed.h"

namespace vmnat::test {
namespace {

using namespace std::chrono_literals;
using dataplane::Doorbell;
using dataplane::KernelPort;
using dataplane::PolledQueue;
using dataplane::WakeSet;

constexpr std::size_t kFrameAndHeader = 70;

// Both ends of what stands for a TAP.
struct Wire {
  std::array<int, 2> ends{};
  Wire() { socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()); }
  ~Wire() {
    for (const int end : ends) close(end);
  }
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;
  void send_frame() const {
    const std::array<std::byte, kFrameAndHeader> frame{};
    ASSERT_EQ(write(ends[1], frame.data(), frame.size()), kFrameAndHeader);
  }
};

struct KernelWakeSet : ::testing::Test {
  KernelPort port;
  Doorbell doorbell;
  std::array<PolledQueue, 1> queues{
      {{.queue = {.device = {.kernel = &port}, .port = 1, .pool = packet_pool()}}}};
  WakeSet wakes{queues, &doorbell};

  void open(const Wire& wire) {
    port.close();
    port.tap(0).open(wire.ends[0]);
    port.open();
  }
  unsigned take_all() {
    std::array<rte_mbuf*, 32> frames;
    const unsigned taken = port.receive(0, packet_pool(), frames.data(), frames.size());
    rte_pktmbuf_free_bulk(frames.data(), taken);
    return taken;
  }
};

TEST_F(KernelWakeSet, AFrameWakesItAndEachFrameAgain) {
  const Wire wire;
  open(wire);
  for (unsigned round = 0; round < 3; ++round) {
    ASSERT_TRUE(wakes.ask());
    EXPECT_EQ(take_all(), 0u);
    wire.send_frame();
    EXPECT_TRUE(wakes.wait(1h)) << round;
    EXPECT_EQ(take_all(), 1u);
    wakes.refuse();
  }
  ASSERT_TRUE(wakes.ask());
  EXPECT_FALSE(wakes.wait(1ms)) << "nothing has come since";
}

TEST_F(KernelWakeSet, AFrameThatCameBeforeTheWaitWakesItToo) {
  const Wire wire;
  open(wire);
  ASSERT_TRUE(wakes.ask());
  wire.send_frame();
  EXPECT_TRUE(wakes.wait(1h));
}

TEST_F(KernelWakeSet, AnInterfaceThatCameBackWakesByWhatItIsNow) {
  const Wire before;
  open(before);
  ASSERT_TRUE(wakes.ask());
  wakes.refuse();
  const Wire after;
  open(after);
  ASSERT_TRUE(wakes.ask());
  before.send_frame();
  EXPECT_FALSE(wakes.wait(1ms)) << "nobody reads what came by the interface that has gone";
  after.send_frame();
  EXPECT_TRUE(wakes.wait(1h));
}

TEST_F(KernelWakeSet, AnInterfaceThatIsNotThereIsWaitedForByTheDoorbell) {
  ASSERT_TRUE(wakes.ask());
  doorbell.listen();
  EXPECT_FALSE(wakes.wait(1ms));
  doorbell.ring();
  EXPECT_TRUE(wakes.wait(1h));
}

TEST_F(KernelWakeSet, FramesThatWaitForBuffersAreKnownOf) {
  const Wire wire;
  open(wire);
  rte_mempool* const small = make_packet_pool("wake_set", 63);
  std::vector<rte_mbuf*> others(63);
  ASSERT_EQ(rte_pktmbuf_alloc_bulk(small, others.data(), 40), 0);
  wire.send_frame();
  rte_mbuf* frame = nullptr;
  EXPECT_EQ(port.receive(0, small, &frame, 1), 0);
  EXPECT_TRUE(wakes.has_waiting());
  rte_pktmbuf_free_bulk(others.data(), 40);
  EXPECT_EQ(port.receive(0, small, &frame, 1), 1);
  EXPECT_EQ(take_all(), 0u);
  EXPECT_FALSE(wakes.has_waiting());
  rte_pktmbuf_free(frame);
  port.tap(0).close();
  rte_mempool_free(small);
}

}  // namespace
}  // namespace vmnat::test
