// SPDX-License-Identifier: Apache-2.0
// Memory of a guest that vanishes reads as zeroes, and its connection ends; any other SIGBUS ends the
// process.
#include "control/devices/guest_faults.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

namespace vmnat::control {
namespace {

constexpr std::size_t kBytes = 64 << 10;

// A file of a guest's, mapped.
struct Mapping {
  Mapping() : file(memfd_create("vmnat-test", MFD_CLOEXEC)) {
    EXPECT_EQ(ftruncate(file, kBytes), 0);
    at = static_cast<volatile char*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    at[0] = 'x';
    at[kBytes - 1] = 'x';
  }
  ~Mapping() {
    munmap(const_cast<char*>(at), kBytes);
    close(file);
  }
  void vanish() const { EXPECT_EQ(ftruncate(file, 0), 0); }
  void watch(WatchedMemory& memory) const { memory.watch(const_cast<char*>(at), kBytes); }
  int file;
  volatile char* at;
};

TEST(WatchedMemory, WhatVanishesReadsAsZeroesAndEndsItsConnectionAlone) {
  int ends[2][2];
  for (auto& pair : ends) ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  WatchedMemory first, second;
  const Mapping lost, kept;
  lost.watch(first);
  kept.watch(second);
  first.set_connection(ends[0][0]);
  second.set_connection(ends[1][0]);
  lost.vanish();
  EXPECT_EQ(lost.at[kBytes - 1], 0);
  lost.at[100] = 'y';
  EXPECT_EQ(lost.at[100], 'y');
  EXPECT_TRUE(first.has_vanished());
  EXPECT_FALSE(second.has_vanished());
  EXPECT_EQ(kept.at[0], 'x');
  char byte = 0;
  EXPECT_EQ(recv(ends[0][1], &byte, 1, MSG_DONTWAIT), 0);   // its end
  EXPECT_EQ(recv(ends[1][1], &byte, 1, MSG_DONTWAIT), -1);  // nothing
  for (const auto& pair : ends)
    for (const int end : pair) close(end);
}

TEST(WatchedMemory, DuringAMessageAnyMemoryIsTheConnections) {
  WatchedMemory memory;
  const Mapping lost;
  memory.expect_faults_of_this_thread();
  lost.vanish();
  EXPECT_EQ(lost.at[0], 0);
  EXPECT_TRUE(memory.has_vanished());
}

void touch_what_nobody_watches() {
  WatchedMemory memory;
  const Mapping watched;
  const Mapping other;
  watched.watch(memory);
  memory.forget();
  other.vanish();
  static_cast<void>(other.at[0]);
}

TEST(WatchedMemory, AFaultElsewhereEndsTheProcess) {
  EXPECT_DEATH(touch_what_nobody_watches(), "");
}

TEST(SparseMemory, APageThatIsMissingIsThisProcesssOwnAndTheOthersAreTheFiles) {
  const Mapping mapping;
  const SparseMemory memory(
      {static_cast<std::byte*>(static_cast<void*>(const_cast<char*>(mapping.at))), kBytes});
  ASSERT_EQ(ftruncate(mapping.file, 4096), 0);  // as if the file system had no page for what lies behind
  EXPECT_EQ(mapping.at[5000], 0);
  mapping.at[5000] = 'y';
  mapping.at[1] = 'z';
  EXPECT_EQ(mapping.at[5000], 'y');
  char bytes[2] = {};
  ASSERT_EQ(pread(mapping.file, bytes, sizeof bytes, 0), 2);
  EXPECT_EQ(bytes[0], 'x');
  EXPECT_EQ(bytes[1], 'z');
}

}  // namespace
}  // namespace vmnat::control
