// SPDX-License-Identifier: Apache-2.0
#include "control/devices/guest_faults.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <csignal>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

namespace vmnat::control {
namespace {

// librte_vhost's bound of sockets. The handler reads it at any time: pointers, each written as a whole.
std::array<std::atomic<WatchedMemory*>, 1024> watched_memories;
std::atomic<WatchedMemory*> memory_in_message{nullptr};
std::atomic<pid_t> message_thread{0};
std::atomic<std::uintptr_t> sparse_begin{0}, sparse_end{0};

bool cover_with_zeroes(std::uintptr_t begin, std::size_t bytes) {
  return mmap(std::bit_cast<void*>(begin), bytes, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
}

// A page whose size is not known: a part of a huge one cannot be covered.
bool cover_page(std::uintptr_t address) {
  for (const std::size_t size : {std::size_t{4} << 10, std::size_t{2} << 20, std::size_t{1} << 30})
    if (cover_with_zeroes(address & ~(size - 1), size)) return true;
  return false;
}

// No page was there yet: a page that had one before is the file's.
bool cover_missing_page(std::uintptr_t address) {
  constexpr std::uintptr_t kPage = 4096;
  if (address >= sparse_end.load(std::memory_order_acquire) ||
      address < sparse_begin.load(std::memory_order_relaxed))
    return false;
  return cover_with_zeroes(address / kPage * kPage, kPage);
}

bool is_survived(std::uintptr_t address) {
  if (cover_missing_page(address)) return true;
  for (const auto& entry : watched_memories)
    if (WatchedMemory* const memory = entry.load(std::memory_order_acquire);
        memory != nullptr && memory->cover(address))
      return true;
  WatchedMemory* const memory = memory_in_message.load(std::memory_order_acquire);
  if (memory == nullptr || message_thread.load(std::memory_order_relaxed) != gettid()) return false;
  if (!cover_page(address)) return false;
  memory->note_fault();
  return true;
}

// Nothing but system calls and atomics: it may interrupt anything.
void on_bus_error(int, siginfo_t* fault, void*) {
  const int error = errno;
  if (!is_survived(reinterpret_cast<std::uintptr_t>(fault->si_addr))) std::signal(SIGBUS, SIG_DFL);
  errno = error;  // the access is tried again: it succeeds, or ends the process
}

void install_handler() {
  static const bool kIsInstalled = [] {
    struct sigaction action {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO;
    return sigaction(SIGBUS, &action, nullptr) == 0;
  }();
  static_cast<void>(kIsInstalled);
}

}  // namespace

WatchedMemory::WatchedMemory() {
  install_handler();
  for (auto& entry : watched_memories) {
    WatchedMemory* none = nullptr;
    if (entry.compare_exchange_strong(none, this)) return;
  }
}

WatchedMemory::~WatchedMemory() {
  for (auto& entry : watched_memories) {
    WatchedMemory* self = this;
    entry.compare_exchange_strong(self, nullptr);
  }
  WatchedMemory* self = this;
  memory_in_message.compare_exchange_strong(self, nullptr);
}

void WatchedMemory::watch(void* begin, std::size_t bytes) {
  const auto address = reinterpret_cast<std::uintptr_t>(begin);
  const auto free = std::ranges::find_if(ranges_, [](const Range& range) { return range.end.load() == 0; });
  if (free == ranges_.end()) return;
  free->begin.store(address, std::memory_order_relaxed);
  free->end.store(address + bytes, std::memory_order_release);
}

void WatchedMemory::forget() {
  for (Range& range : ranges_) range.end.store(0, std::memory_order_release);
}

void WatchedMemory::expect_faults_of_this_thread() {
  message_thread.store(gettid(), std::memory_order_relaxed);
  memory_in_message.store(this, std::memory_order_release);
}

SparseMemory::SparseMemory(std::span<std::byte> memory) {
  install_handler();
  const auto begin = reinterpret_cast<std::uintptr_t>(memory.data());
  sparse_begin.store(begin, std::memory_order_relaxed);
  sparse_end.store(begin + memory.size(), std::memory_order_release);
}

SparseMemory::~SparseMemory() {
  sparse_end.store(0, std::memory_order_release);
}

bool WatchedMemory::cover(std::uintptr_t address) {
  for (const Range& range : ranges_) {
    const std::uintptr_t end = range.end.load(std::memory_order_acquire);
    const std::uintptr_t begin = range.begin.load(std::memory_order_relaxed);
    if (end == 0 || address < begin || address >= end) continue;
    if (!cover_with_zeroes(begin, end - begin)) return false;
    note_fault();
    return true;
  }
  return false;
}

void WatchedMemory::note_fault() {
  has_vanished_.store(true, std::memory_order_release);
  if (const int connection = connection_.load(std::memory_order_acquire); connection >= 0)
    shutdown(connection, SHUT_RDWR);
}

}  // namespace vmnat::control
