// SPDX-License-Identifier: Apache-2.0
// Whoever drives a packed ring is killed, at every store that it makes to the ring: where the next one goes on, and that
// the guest gets each of its buffers back once.
//
// A child process takes or puts a burst instruction by instruction; what it leaves in the ring after each of them is read
// from its memory.
#include "dataplane/device/packed_recovery.h"

#include <csignal>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/fake_guest.h"
#include "tests/support/testbed.h"

namespace vmnat::test {
namespace {

using dataplane::PackedRecovery;
using dataplane::virtio::PackedDescriptor;
using dataplane::virtio::UsedElement;
namespace virtio = dataplane::virtio;

constexpr std::uint64_t kFeatures = virtio::kPackedRing | virtio::kVersion1 | virtio::kMergeableBuffers;
constexpr std::uint32_t kHeader = sizeof(virtio::NetHeader);
using Ring = std::vector<PackedDescriptor>;

bool is_same(const Ring& a, const Ring& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof a[0]) == 0;
}

// The child has stopped where it does by itself, before and after the burst.
bool has_stopped(pid_t child) {
  int status = 0;
  return waitpid(child, &status, 0) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP;
}

Ring ring_of(pid_t child, Ring& ring) {
  Ring read(ring.size());
  const iovec to{read.data(), read.size() * sizeof read[0]}, from{ring.data(), to.iov_len};
  EXPECT_EQ(process_vm_readv(child, &to, 1, &from, 1, 0), static_cast<ssize_t>(to.iov_len));
  return read;
}

// What stands in the ring before, between and after all stores of the burst.
std::vector<Ring> states_of(FakeGuest& guest, const std::function<void()>& burst) {
  packet_pool();  // made before, not step by step
  const pid_t child = fork();
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    raise(SIGSTOP);
    burst();
    raise(SIGSTOP);
    _exit(0);
  }
  std::vector<Ring> states{guest.packed().ring()};
  EXPECT_TRUE(has_stopped(child));
  do {
    ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr);
    Ring now = ring_of(child, guest.packed().ring());
    if (!is_same(now, states.back())) states.push_back(std::move(now));
  } while (!has_stopped(child));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  return states;
}

std::vector<std::uint16_t> ids_of(const std::vector<UsedElement>& elements) {
  std::vector<std::uint16_t> ids;
  for (const UsedElement& element : elements) ids.push_back(static_cast<std::uint16_t>(element.head));
  return ids;
}

unsigned take(FakeGuest& guest) {
  std::array<rte_mbuf*, 32> frames{};
  const unsigned count = guest.queue().take(packet_pool(), frames.data(), frames.size());
  rte_pktmbuf_free_bulk(frames.data(), count);
  return count;
}

unsigned put(FakeGuest& guest, const std::vector<std::size_t>& lengths) {
  std::vector<rte_mbuf*> frames;
  for (const std::size_t length : lengths) frames.push_back(buffer_of(Bytes(length)));
  const auto sent = guest.queue().put(frames.data(), static_cast<std::uint16_t>(frames.size())).sent;
  rte_pktmbuf_free_bulk(frames.data(), static_cast<unsigned>(frames.size()));
  return sent.size();
}

std::optional<std::uint16_t> recovered(FakeGuest& guest) {
  return PackedRecovery(guest.packed().ring(), guest.memory()).recover();
}

// Chains of so many descriptors each, of 100 bytes.
struct Offer {
  const char* says;
  std::vector<unsigned> chains;
};
std::vector<std::uint16_t> offer(FakeGuest& guest, const Offer& what) {
  std::vector<std::uint16_t> ids;
  std::uint16_t id = 0;
  for (const unsigned count : what.chains) {
    guest.offer(id, std::vector<FakeGuest::Buffer>(count, {FakeGuest::kHigh, 100}));
    ids.push_back(id);
    id = static_cast<std::uint16_t>(id + count);
  }
  return ids;
}

const Offer kOffers[] = {
    {"buffers", {1, 1, 1, 1, 1, 1}},
    {"a full ring of buffers", {1, 1, 1, 1, 1, 1, 1, 1}},
    {"chains", {2, 3, 2}},
    {"both", {1, 3, 1, 2, 1}},
    {"one chain that is all of the ring", {8}},
};
constexpr std::uint16_t kStarts[] = {0, 3, 8, 13};  // where the ring is, in descriptors since the beginning

using Check = std::function<void(FakeGuest&, const std::vector<std::uint16_t>& ids)>;

// `check` finds the guest, and the ids of all that is on offer, with a ring that is driven by the next process, when the
// last one was killed anywhere in `burst`.
void kill_everywhere(const std::function<void(FakeGuest&)>& burst, unsigned least_states,
                     const Check& check) {
  unsigned states = 0;
  for (const Offer& what : kOffers)
    for (const std::uint16_t start : kStarts) {
      FakeGuest guest(kFeatures, start);
      const auto ids = offer(guest, what);
      PackedDriver before = guest.packed();
      for (const Ring& ring : states_of(guest, [&] { burst(guest); })) {
        SCOPED_TRACE(::testing::Message() << what.says << " from " << start << ", state " << states);
        before.ring() = ring;
        guest.packed() = before;
        const auto place = recovered(guest);
        ASSERT_TRUE(place);
        guest.reopen_at(*place);
        check(guest, ids);
        ++states;
      }
    }
  EXPECT_GE(states, least_states);
}

TEST(PackedRecovery, AKillAmongFramesOfAGuestLosesNoBufferAndTakesNoFrameTwice) {
  kill_everywhere([](FakeGuest& guest) { take(guest); }, 100,
                  [](FakeGuest& guest, const auto& ids) {
                    const auto back = ids_of(guest.used());
                    EXPECT_EQ(take(guest), ids.size() - back.size()) << "those that had not come back";
                    auto all = back;
                    for (const std::uint16_t id : ids_of(guest.used())) all.push_back(id);
                    EXPECT_EQ(all, ids);
                  });
}

// Frames of 88, 250, 88 and 20 bytes in buffers of 100 bytes, header included: 1, 3, 1 and 1 of them.
TEST(PackedRecovery, AKillAmongFramesForAGuestLosesNoBufferAndFillsNoneByHalf) {
  const std::vector<std::size_t> lengths{88, 250, 88, 20};
  kill_everywhere([&](FakeGuest& guest) { put(guest, lengths); }, 100,
                  [&](FakeGuest& guest, const auto& ids) {
                    std::vector<UsedElement> back = guest.used();
                    std::size_t at = 0;
                    for (const std::size_t length : lengths) {  // as many frames as it got are whole
                      if (at == back.size()) break;
                      std::uint32_t sum = 0;
                      while (at < back.size() && sum < kHeader + length) sum += back[at++].length;
                      EXPECT_EQ(sum, kHeader + length);
                    }
                    EXPECT_EQ(at, back.size());
                    take(guest);  // all that is left comes back
                    for (const UsedElement& element : guest.used()) back.push_back(element);
                    EXPECT_EQ(ids_of(back), ids);
                  });
}

TEST(PackedRecovery, FindsThePlaceInWhateverAGuestHasOffered) {
  std::mt19937 random(1);
  for (const std::uint16_t size : {1, 2, 3, 7, 8, 256, 1000}) {
    FakeGuest guest(kFeatures, 0, size);
    unsigned on_offer = 0;
    for (unsigned turn = 0; turn < 500; ++turn) {
      for (unsigned more = random() % 4; more > 0; --more) {
        const unsigned count = 1 + random() % std::min<unsigned>(size, 3);
        if (on_offer + count > size) break;
        guest.offer(0, std::vector<FakeGuest::Buffer>(count, {FakeGuest::kHigh, 100}));
        on_offer += count;
      }
      ASSERT_EQ(recovered(guest), guest.queue().next_available()) << size << ", turn " << turn;
      if (random() % 2 == 0) take(guest);
      if (guest.used().empty()) continue;
      on_offer = 0;
      while (take(guest) > 0) guest.used();
    }
  }
}

TEST(PackedRecovery, FindsNothingInARingThatOthersHaveDriven) {
  FakeGuest guest(kFeatures);
  auto& ring = guest.packed().ring();
  for (const std::size_t i : {1u, 3u, 5u}) ring[i].state.flags = PackedDescriptor::kUsed;
  EXPECT_EQ(recovered(guest), std::nullopt);
}

TEST(PackedRecovery, LooksForThePlaceOnlyWhenTheVmmSaysTheOldOneAgain) {
  virtio::EventSuppression event;
  EXPECT_FALSE(PackedRecovery::is_forgotten(event, 0x8000)) << "a ring that is new";
  PackedRecovery::remember(event, 0x8000);
  EXPECT_TRUE(PackedRecovery::is_forgotten(event, 0x8000));
  EXPECT_FALSE(PackedRecovery::is_forgotten(event, 0x8001)) << "it was asked for";
  PackedRecovery::forget(event, 0x8000);
  EXPECT_FALSE(PackedRecovery::is_forgotten(event, 0x8000));
}

}  // namespace
}  // namespace vmnat::test
