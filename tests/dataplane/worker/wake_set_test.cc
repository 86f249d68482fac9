// SPDX-License-Identifier: Apache-2.0
// What wakes a worker that sleeps, with guests' rings in the test's hands; and what cannot.
#include "dataplane/worker/wake_set.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utility>

#include "tests/support/guest_vms.h"

namespace vmnat::test {
namespace {

using namespace std::chrono_literals;
using dataplane::Doorbell;
using dataplane::PolledQueue;
using dataplane::VhostPort;
namespace virtio = dataplane::virtio;

constexpr std::uint64_t kByFlag = virtio::kVersion1, kByIndex = virtio::kVersion1 | virtio::kEventIndex;

// A guest with one transmit queue behind a port.
struct Guest {
  explicit Guest(std::uint64_t features, std::uint16_t start = 0) : ring(features, start) {}
  ~Guest() { close(kick); }
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;
  // As librte_vhost's thread does it after a message.
  void come_to(VhostPort& port) {
    ring.reopen(-1, kick);
    attach_sender(port, ring);
  }
  static void leave(VhostPort& port) {
    port.pause();
    port.queue(1) = {};
    port.detach();
  }
  void send() { ring.offer(next++ % FakeGuest::kSize, {FakeGuest::empty_frame()}); }
  void kick_now() const { eventfd_write(kick, 1); }
  FakeGuest ring;
  int kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  std::uint16_t next = 0;
};

struct WakeSet : ::testing::Test {
  WakeSet() {
    for (std::size_t i = 0; i < ports.size(); ++i) {
      queues.push_back({.queue = {.device = {.vhost = &ports[i]}, .port = static_cast<PortIndex>(i)}});
      ports[i].tell_worker(0, doorbell);
    }
  }
  // Of the guest's port.
  std::uint16_t receive(VhostPort& port) {
    rte_mbuf* frames[32];
    const std::uint16_t count = port.receive(0, packet_pool(), frames, 32);
    rte_pktmbuf_free_bulk(frames, count);
    return count;
  }
  std::array<VhostPort, 2> ports;
  std::vector<PolledQueue> queues;
  Doorbell doorbell;
};

struct WakeSetByEitherWay : WakeSet, ::testing::WithParamInterface<std::uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Virtio, WakeSetByEitherWay, ::testing::Values(kByFlag, kByIndex),
                         [](const auto& instance) {
                           return instance.param == kByFlag ? "Flag" : "EventIndex";
                         });

TEST_P(WakeSetByEitherWay, TheGuestIsAskedToKickAndAKickWakes) {
  dataplane::WakeSet set(queues, &doorbell);
  Guest guest(GetParam(), 65534);  // round the end of the index
  guest.come_to(ports[0]);
  for (unsigned i = 0; i < 5; ++i) {
    doorbell.listen();
    ASSERT_TRUE(set.ask());
    EXPECT_TRUE(guest.ring.would_kick());
    set.wait(0ms);  // whatever there was
    EXPECT_FALSE(set.wait(0ms));
    guest.send();
    guest.kick_now();
    EXPECT_TRUE(set.wait(0ms));
    EXPECT_EQ(receive(ports[0]), 1);
    set.refuse();
    EXPECT_FALSE(guest.ring.would_kick());
    guest.send();  // without a kick, as it goes while the worker is awake
    EXPECT_EQ(receive(ports[0]), 1);
  }
}

TEST_P(WakeSetByEitherWay, WhatWasSentBeforeTheGuestWasAskedIsFoundByALook) {
  dataplane::WakeSet set(queues, &doorbell);
  Guest guest(GetParam());
  guest.come_to(ports[0]);
  guest.send();
  ASSERT_TRUE(set.ask());
  EXPECT_TRUE(set.has_waiting());
  EXPECT_EQ(receive(ports[0]), 1);
  EXPECT_FALSE(set.has_waiting());
}

TEST_F(WakeSet, WithoutGuestsTheDoorbellWakesWhenOneComesWhoIsThenAsked) {
  dataplane::WakeSet set(queues, &doorbell);
  doorbell.listen();
  ASSERT_TRUE(set.ask());
  EXPECT_FALSE(set.wait(0ms));
  Guest guest(kByFlag);
  guest.come_to(ports[1]);
  EXPECT_TRUE(set.wait(0ms));
  doorbell.listen();
  ASSERT_TRUE(set.ask());
  set.wait(0ms);
  guest.kick_now();
  EXPECT_TRUE(set.wait(0ms));
}

// What VMMs want to be told, rings that are enabled, and announcements.
TEST_F(WakeSet, WhateverChangesAtAPortWakes) {
  dataplane::WakeSet set(queues, &doorbell);
  Guest guest(kByFlag);
  guest.come_to(ports[0]);
  const auto wakes = [&](auto change) {
    doorbell.listen();
    EXPECT_TRUE(set.ask());
    while (set.wait(0ms)) continue;
    change();
    return set.wait(0ms);
  };
  EXPECT_TRUE(wakes([&] { ports[0].set_enabled(1, false); }));
  EXPECT_FALSE(wakes([&] { ports[0].set_enabled(1, false); }));
  EXPECT_TRUE(wakes([&] { ports[0].set_enabled(1, true); }));
  EXPECT_TRUE(wakes([&] { ports[0].announce({{2, 0, 0, 0, 0, 1}}); }));
  EXPECT_TRUE(wakes([&] { Guest::leave(ports[0]); }));
  EXPECT_TRUE(wakes([&] { guest.come_to(ports[0]); }));
}

// The number of the eventfd may be another file's at once; the old one is neither waited for nor read.
TEST_F(WakeSet, AGuestThatGoesAndComesBringsAnotherKick) {
  dataplane::WakeSet set(queues, &doorbell);
  auto before = std::make_unique<Guest>(kByFlag);
  before->come_to(ports[0]);
  ASSERT_TRUE(set.ask());
  const int vmms_own = dup(before->kick);
  Guest::leave(ports[0]);
  Guest after(kByFlag);
  const int number = before->kick;
  before.reset();  // closes it
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  ASSERT_TRUE(pipe_ends[0] == number || pipe_ends[1] == number);
  after.come_to(ports[0]);
  ASSERT_TRUE(set.ask());
  set.wait(0ms);
  ASSERT_EQ(write(pipe_ends[1], "x", 1), 1);
  eventfd_write(vmms_own, 1);
  EXPECT_FALSE(set.wait(0ms));
  after.kick_now();
  EXPECT_TRUE(set.wait(0ms));
  eventfd_t kicks = 0;
  EXPECT_EQ(eventfd_read(after.kick, &kicks), 0);  // nobody has read it
  char left = 0;
  EXPECT_EQ(read(pipe_ends[0], &left, 1), 1);
  for (const int descriptor : {vmms_own, pipe_ends[0], pipe_ends[1]}) close(descriptor);
}

TEST_F(WakeSet, AVmmThatClosesItsKickMakesNoBusyLoop) {
  dataplane::WakeSet set(queues, &doorbell);
  auto guest = std::make_unique<Guest>(kByFlag);
  guest->come_to(ports[0]);
  guest->kick_now();
  ASSERT_TRUE(set.ask());
  close(std::exchange(guest->kick, -1));
  set.wait(0ms);
  for (unsigned i = 0; i < 3; ++i) {
    ASSERT_TRUE(set.ask());
    EXPECT_FALSE(set.wait(0ms));
  }
}

TEST_F(WakeSet, WhereSomethingHasToBePolledNobodyIsAsked) {
  Guest guest(kByFlag);
  guest.come_to(ports[0]);
  ports[0].queue(1).refuse_kicks();
  queues.push_back({.queue = {.device = {.port_id = 0}, .port = 2}});  // DPDK's
  dataplane::WakeSet set(queues, &doorbell);
  EXPECT_FALSE(set.ask());
  EXPECT_FALSE(set.ask());
  EXPECT_FALSE(guest.ring.would_kick());
}

TEST_F(WakeSet, RingsThatLibrteVhostDrivesAreLookedAtUntilTheyAreNot) {
  dataplane::WakeSet set(queues, &doorbell);
  Guest guest(kByFlag), packed(kByFlag);
  guest.come_to(ports[0]);
  packed.come_to(ports[1]);
  ports[1].resume(7);  // its number there
  EXPECT_FALSE(set.ask());
  EXPECT_FALSE(set.has_waiting());
  EXPECT_FALSE(guest.ring.would_kick());
  packed.come_to(ports[1]);
  EXPECT_TRUE(set.ask());
  EXPECT_TRUE(guest.ring.would_kick());
}

TEST_F(WakeSet, AGuestWithoutAKickIsLookedAt) {
  dataplane::WakeSet set(queues, &doorbell);
  Guest guest(kByFlag);
  close(std::exchange(guest.kick, -1));
  guest.come_to(ports[0]);
  EXPECT_FALSE(set.ask());
}

TEST_F(WakeSet, WithoutADoorbellThereIsNoSleepToBeWokenFrom) {
  dataplane::WakeSet set(queues, nullptr);
  EXPECT_FALSE(set.ask());
}

}  // namespace
}  // namespace vmnat::test
