// SPDX-License-Identifier: Apache-2.0
#include "control/image/session_image.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "conntrack/reserved_array.h"

namespace vmnat::control {
namespace {

Error out_of_memory(const std::string& path, std::size_t bytes) {
  return {path, fmt::format("no memory for {} MiB of session records: {}", bytes >> 20,
                            std::generic_category().message(errno))};
}

// On tmpfs pages are given as they are touched, and there have to be some then. Huge pages are reserved when
// they are mapped.
bool has_room_for(int file, std::size_t bytes) {
  struct statvfs status {};
  if (fstatvfs(file, &status) != 0 || status.f_blocks == 0) return true;  // without a limit
  errno = ENOSPC;
  return std::size_t{status.f_bavail} * status.f_frsize >= bytes;
}

// At a multiple of 2 MiB, so that huge pages may be behind it; nullptr: errno says why.
std::byte* map_aligned(int file, std::size_t bytes) {
  void* const room =
      mmap(nullptr, bytes + kHugePage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) return nullptr;
  auto* const start = static_cast<std::byte*>(room);
  const std::size_t skipped = (kHugePage - reinterpret_cast<std::uintptr_t>(start) % kHugePage) % kHugePage;
  std::byte* const at = start + skipped;
  if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED) {
    munmap(room, bytes + kHugePage);
    return nullptr;
  }
  if (skipped > 0) munmap(start, skipped);
  if (skipped < kHugePage) munmap(at + bytes, kHugePage - skipped);
  return at;
}

}  // namespace

Result<SessionImage> SessionImage::create(const ImagePlace& place, const Shape& shape, const Moment& now) {
  const std::size_t bytes = image_bytes(shape.worker_nodes.size(), shape.capacity);
  auto file = lock_new(place.path_of_next());
  if (!file) return tl::unexpected(file.error());
  std::byte* const at = (place.is_huge || has_room_for(file->number(), bytes)) &&
                                ftruncate(file->number(), static_cast<off_t>(bytes)) == 0
                            ? map_aligned(file->number(), bytes)
                            : nullptr;
  if (at == nullptr) {
    const Error error = out_of_memory(place.path, bytes);
    unlink(place.path_of_next().c_str());
    return tl::unexpected(error);
  }
  SessionImage image(std::move(*file), place, {at, bytes});
  image.start(shape, now);
  return image;
}

SessionImage::SessionImage(SessionImage&& other) noexcept
    : file_(std::move(other.file_)),
      place_(std::move(other.place_)),
      memory_(std::exchange(other.memory_, {})),
      names_written_(other.names_written_),
      totals_written_(other.totals_written_),
      has_taken_effect_(other.has_taken_effect_) {}

SessionImage::~SessionImage() {
  if (memory_.empty()) return;
  header().is_clean = 1;
  munmap(memory_.data(), memory_.size());
  if (!has_taken_effect_) unlink(place_.path_of_next().c_str());
}

void SessionImage::start(const Shape& shape, const Moment& now) {
  for (std::size_t worker = 0; worker < shape.worker_nodes.size(); ++worker) {
    const std::size_t begin = records_of_worker_at(worker, shape.capacity);
    conntrack::place_pages(memory_.data() + begin, records_of_worker_at(worker + 1, shape.capacity) - begin,
                           {conntrack::Pages::Huge, shape.worker_nodes[worker]});
  }
  ImageHeader& header = this->header();
  header = {.magic = kImageMagic,
            .layout = kLayout,
            .workers = static_cast<std::uint32_t>(shape.worker_nodes.size()),
            .facts = layout_facts(),
            .boot_id = {},
            .start_tsc = shape.start_tsc,
            .tsc_hz = now.tsc_hz,
            .written_tsc = now.tsc,
            .written_boot = static_cast<std::uint64_t>(now.boot.time_since_epoch().count()),
            .capacity = shape.capacity,
            .unused = 0,
            .checksum = 0,
            .is_clean = 0};
  std::copy_n(now.boot_id.begin(), std::min(now.boot_id.size(), header.boot_id.size()),
              header.boot_id.begin());
  header.checksum = checksum_of(header);
}

std::span<conntrack::Session> SessionImage::records(WorkerIndex worker) {
  return {at<conntrack::Session>(records_of_worker_at(worker, header().capacity)), header().capacity};
}

bool SessionImage::set_names(const SessionNames& names) {
  return write_copy({kNamesAt, kNamesBytes}, to_json(names), names_written_);
}

bool SessionImage::set_totals(const Totals& totals) {
  return write_copy({totals_at(header().workers, header().capacity), kTotalsBytes}, to_json(totals),
                    totals_written_);
}

// Into the copy that does not count; the kill of the process before the checksum is there leaves the other.
bool SessionImage::write_copy(Room room, std::string_view text, std::uint64_t& written) {
  if (text.size() > room.bytes - sizeof(CopyHeader)) return false;
  ++written;
  const std::size_t copy = room.at + written % 2 * room.bytes;
  CopyHeader& header = *at<CopyHeader>(copy);
  header.checksum = 0;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  header.sequence = written;
  header.bytes = text.size();
  std::copy_n(std::as_bytes(std::span(text)).begin(), text.size(), at<std::byte>(copy + sizeof header));
  std::atomic_signal_fence(std::memory_order_seq_cst);
  header.checksum = checksum_of(header, std::as_bytes(std::span(text)));
  return true;
}

Result<void> SessionImage::take_effect() {
  if (std::rename(place_.path_of_next().c_str(), place_.path.c_str()) != 0)
    return tl::unexpected(Error{place_.path, std::generic_category().message(errno)});
  has_taken_effect_ = true;
  return {};
}

}  // namespace vmnat::control
