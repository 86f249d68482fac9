// SPDX-License-Identifier: Apache-2.0
// Reserving, populating and releasing pages: control's work, never done for a packet.
#include "conntrack/reserved_array.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <numaif.h>
#include <sys/mman.h>

#include "base/transparent_hugepages.h"

namespace vmnat::conntrack {
namespace {

constexpr std::size_t kHugePage = 2u << 20;

std::size_t rounded_up(std::size_t bytes) {
  return (bytes + kHugePage - 1) / kHugePage * kHugePage;
}

// Pages come from this node as long as it has any. A system without nodes refuses: there is nothing to
// choose.
void prefer_node(void* at, std::size_t bytes, int node) {
  constexpr unsigned kMaxNodes = 1024;  // Linux's
  constexpr unsigned kBits = sizeof(unsigned long) * CHAR_BIT;
  if (node < 0 || static_cast<unsigned>(node) >= kMaxNodes) return;
  std::array<unsigned long, kMaxNodes / kBits> nodes{};
  nodes[static_cast<unsigned>(node) / kBits] = 1ul << (static_cast<unsigned>(node) % kBits);
  mbind(at, bytes, MPOL_PREFERRED, nodes.data(), kMaxNodes + 1, 0);
}

// Of a file that is memory pages are small, whatever madvise() has been told, unless the administrator has said otherwise:
// Linux makes them a huge one when it is asked to in so many words (6.1), and one of them is there. Where a table is in
// use already they stay as they are: making them one would keep its worker waiting.
void ask_for_huge_pages(std::byte* at, std::size_t bytes) {
  constexpr int kCollapse = 25;  // MADV_COLLAPSE, which older headers do not have
  static const bool kIsWanted = has_transparent_hugepages();
  if (!kIsWanted) return;
  const std::size_t skipped = reinterpret_cast<std::uintptr_t>(at) % kHugePage;
  for (std::byte* page = at - skipped; page < at + bytes; page += kHugePage)
    if (resident_bytes(page, 1) == 0 && madvise(page, 1, MADV_POPULATE_WRITE) == 0)
      madvise(page, kHugePage, kCollapse);
}

}  // namespace

void* reserve_pages(std::size_t bytes, Placement placement) {
  // One huge page more than needed, so that the array can start at a huge page's boundary.
  const std::size_t wanted = rounded_up(bytes) + kHugePage;
  void* at =
      mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return nullptr;
  auto* start = static_cast<std::byte*>(at);
  const std::size_t skipped = (kHugePage - reinterpret_cast<std::uintptr_t>(at) % kHugePage) % kHugePage;
  if (skipped > 0) munmap(start, skipped);
  start += skipped;
  if (skipped < kHugePage) munmap(start + rounded_up(bytes), kHugePage - skipped);
  place_pages(start, rounded_up(bytes), placement);
  return start;
}

void place_pages(void* at, std::size_t bytes, Placement placement) {
  madvise(at, bytes, placement.pages == Pages::Huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  prefer_node(at, bytes, placement.numa_node);
}

void release_pages(void* at, std::size_t bytes) {
  munmap(at, rounded_up(bytes));
}

int populate_pages(std::byte* at, std::size_t bytes) {
  ask_for_huge_pages(at, bytes);
  return madvise(at, bytes, MADV_POPULATE_WRITE) == 0 ? 0 : errno;
}

std::size_t resident_bytes(const void* at, std::size_t bytes) {
  constexpr std::size_t kPage = 4096;
  constexpr std::size_t kChunk = 4096;  // pages asked about at once
  std::array<unsigned char, kChunk> present;
  auto* start = static_cast<std::byte*>(const_cast<void*>(at));
  std::size_t pages = 0;
  for (std::size_t done = 0; done < bytes; done += kChunk * kPage) {
    const std::size_t asked = std::min(bytes - done, kChunk * kPage);
    if (mincore(start + done, asked, present.data()) != 0) continue;
    pages += static_cast<std::size_t>(std::count_if(
        present.begin(), present.begin() + static_cast<std::ptrdiff_t>((asked + kPage - 1) / kPage),
        [](unsigned char page) { return (page & 1) != 0; }));
  }
  return pages * kPage;
}

}  // namespace vmnat::conntrack
