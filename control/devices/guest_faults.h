// SPDX-License-Identifier: Apache-2.0
// WatchedMemory: a guest's memory, mapped here, that may vanish.
//
// The file behind it is its VMM's, which may cut it short at any time, and with huge pages there may be none
// left for a page that was never touched. Whoever touches such a page gets a SIGBUS, which would end the
// daemon and with it every other VM. Its handler lays zeroes over the memory instead, for all threads, and
// shuts the port's connection down, whose end librte_vhost's thread then finds:
//
//   worker: reads a descriptor -> SIGBUS -> zeroes, shutdown(2) -> reads a zero, goes on
//   librte_vhost's thread: the connection has ended -> the port is down, the memory unmapped
//
// A SIGBUS anywhere else ends the process as ever, but in SparseMemory.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace vmnat::control {

class WatchedMemory {
 public:
  static constexpr unsigned kMostRanges = 9;  // librte_vhost's eight regions, and the log of a migration

  WatchedMemory();
  WatchedMemory(const WatchedMemory&) = delete;
  WatchedMemory& operator=(const WatchedMemory&) = delete;
  ~WatchedMemory();

  // Whole mappings, page-aligned. All is done by librte_vhost's thread, or while it is not at this
  // connection; nobody touches the memory while it changes.
  void watch(void* begin, std::size_t bytes);
  void forget();  // before it is unmapped
  // To be shut down when memory vanishes; negative: none.
  void set_connection(int descriptor) { connection_.store(descriptor, std::memory_order_release); }
  // From now on, until it is said of another's, a fault of the calling thread is one of this memory wherever
  // it is: librte_vhost maps memory, and looks at it, in one message.
  void expect_faults_of_this_thread();

  [[nodiscard]] bool has_vanished() const { return has_vanished_.load(std::memory_order_acquire); }
  void start_over() { has_vanished_.store(false, std::memory_order_relaxed); }

  // For the handler.
  bool cover(std::uintptr_t address);
  void note_fault();

 private:
  struct Range {
    std::atomic<std::uintptr_t> begin{0}, end{0};
  };
  std::array<Range, kMostRanges> ranges_;
  std::atomic<int> connection_{-1};
  std::atomic<bool> has_vanished_{false};
};

// SparseMemory: a file on a tmpfs, mapped here, whose pages come as they are touched. When the tmpfs is full then,
// a blank page of this process's own stands in: nothing is lost but that the file does not have it.
class SparseMemory {
 public:
  // One of them exists at a time, made and ended while nobody touches the memory.
  explicit SparseMemory(std::span<std::byte> memory);
  SparseMemory(const SparseMemory&) = delete;
  SparseMemory& operator=(const SparseMemory&) = delete;
  ~SparseMemory();
};

}  // namespace vmnat::control
