// SPDX-License-Identifier: Apache-2.0
// The layout of a session image: the file whose pages are the workers' session records, so that these outlive
// the process.
//
//   0         ImageHeader: who wrote it, on which clock; written once
//   64 KiB    names, one of two copies of 960 KiB: what the numbers in records stood for
//   1 MiB     names, the other: the one with a valid checksum and the higher sequence counts
//   2 MiB     records of worker 0, of worker 1 ..., each from a multiple of 2 MiB on
//   then      totals of counters, two copies of 1 MiB, which count as those of the names do
//
// Records are written by workers, as they go; nothing of them is checked by a sum. kLayout grows with every
// change of what a record's words or the header mean; what the compiler knows of that, `facts` holds.
// An image of another layout is refused: the sessions end, as they did before there were images. Totals name what
// they count, and may be absent: no layout is another for them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "conntrack/session.h"

namespace vmnat::control {

inline constexpr std::array<char, 8> kImageMagic{'v', 'm', 'n', 'a', 't', 's', 'e', 's'};
inline constexpr std::uint32_t kLayout = 1;

inline constexpr std::size_t kHugePage = std::size_t{2} << 20;
inline constexpr std::size_t kNamesAt = std::size_t{64} << 10;
inline constexpr std::size_t kNamesBytes = std::size_t{960} << 10;  // of a copy
inline constexpr std::size_t kRecordsAt = kHugePage;
inline constexpr std::size_t kTotalsBytes = kHugePage / 2;  // of a copy
static_assert(kNamesAt + 2 * kNamesBytes <= kRecordsAt);

// FNV-1a: finds damage, not malice; the file is its owner's alone.
constexpr std::uint64_t checksum(std::span<const std::byte> bytes,
                                 std::uint64_t sum = 0xcbf2'9ce4'8422'2325) {
  for (const std::byte byte : bytes) sum = (sum ^ static_cast<std::uint64_t>(byte)) * 0x0000'0100'0000'01b3;
  return sum;
}

constexpr std::uint64_t layout_facts() {
  const std::array facts{sizeof(conntrack::Session),
                         std::size_t{conntrack::kSessionStates},
                         std::size_t{Ticks::period::den},
                         sizeof(conntrack::FlowKey),
                         kRecordsAt,
                         kNamesBytes};
  std::uint64_t sum = 1;
  for (const std::size_t fact : facts) sum = sum * 1'000'003 + fact;
  return sum;
}

struct ImageHeader {
  std::array<char, 8> magic;
  std::uint32_t layout;
  std::uint32_t workers;
  std::uint64_t facts;
  std::array<char, 40> boot_id;  // of the kernel, as text
  std::uint64_t start_tsc;       // when the workers' clock was 0
  std::uint64_t tsc_hz;
  std::uint64_t written_tsc;  // and at the same moment the boot clock, in nanoseconds
  std::uint64_t written_boot;
  std::uint32_t capacity;  // records of a worker
  std::uint32_t unused;
  std::uint64_t checksum;  // of all before
  std::uint64_t is_clean;  // 1: the process has stopped by itself
};
static_assert(sizeof(ImageHeader) == 120 && std::has_unique_object_representations_v<ImageHeader>);

inline std::uint64_t checksum_of(const ImageHeader& header) {
  return checksum(std::as_bytes(std::span(&header, 1)).first(offsetof(ImageHeader, checksum)));
}

// Before a copy of the names or totals, which are text.
struct CopyHeader {
  std::uint64_t sequence;  // 0: never written
  std::uint64_t bytes;
  std::uint64_t checksum;  // of the two, and of the bytes that follow
};

inline std::uint64_t checksum_of(const CopyHeader& header, std::span<const std::byte> text) {
  return checksum(text, checksum(std::as_bytes(std::span(&header, 1)).first(offsetof(CopyHeader, checksum))));
}

constexpr std::size_t records_of_worker_at(std::size_t worker, std::size_t capacity) {
  const std::size_t bytes = capacity * sizeof(conntrack::Session);
  return kRecordsAt + worker * ((bytes + kHugePage - 1) / kHugePage * kHugePage);
}

// Behind all records.
constexpr std::size_t totals_at(std::size_t workers, std::size_t capacity) {
  return records_of_worker_at(workers, capacity);
}
constexpr std::size_t image_bytes(std::size_t workers, std::size_t capacity) {
  return totals_at(workers, capacity) + 2 * kTotalsBytes;
}

}  // namespace vmnat::control
