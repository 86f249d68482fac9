// SPDX-License-Identifier: Apache-2.0
#include "control/image/former_image.h"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <fstream>
#include <unistd.h>

#include "control/system/boot_clock.h"

namespace vmnat::control {
namespace {

constexpr std::uint32_t kMostRecords = 1u << 30;  // of a worker

// How many of the bytes the file has there.
std::size_t read_at(int file, std::size_t at, std::span<std::byte> bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count =
        pread(file, bytes.data() + done, bytes.size() - done, static_cast<off_t>(at + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

// The time that has passed since the header was written, by both clocks: they agree unless one of them stood
// still, or the machine is another one.
bool does_clock_go_on(const ImageHeader& header, const Moment& now) {
  const auto boot = static_cast<std::uint64_t>(now.boot.time_since_epoch().count());
  if (now.tsc < header.written_tsc || boot < header.written_boot || header.start_tsc > header.written_tsc ||
      header.tsc_hz == 0)
    return false;
  const double by_tsc =
      static_cast<double>(now.tsc - header.written_tsc) / static_cast<double>(header.tsc_hz);
  const double by_boot = static_cast<double>(boot - header.written_boot) / 1e9;
  return std::abs(by_tsc - by_boot) < 2 + by_boot / 100;
}

const char* fault_of(const ImageHeader& header, const Moment& now) {
  if (header.magic != kImageMagic) return "is no image of sessions";
  if (header.layout != kLayout || header.facts != layout_facts())
    return "was written by a version with another layout of sessions";
  if (header.checksum != checksum_of(header)) return "is damaged: its header's checksum is wrong";
  if (std::string_view(header.boot_id.data(), strnlen(header.boot_id.data(), header.boot_id.size())) !=
      now.boot_id)
    return "is of another boot of this machine";
  if (header.workers == 0 || header.workers >= kNoWorker || header.capacity > kMostRecords)
    return "is damaged: its header makes no sense";
  if (!does_clock_go_on(header, now)) return "goes by a clock that has jumped since";
  return nullptr;
}

// Of a text that is kept in two copies.
struct Copies {
  std::string latest;          // of those that are whole; empty: there is none
  std::uint64_t sequence = 0;  // of it
  bool was_written = false;    // some copy, whole or not
};

void read_copy(int file, std::size_t at, std::size_t room, Copies& copies) {
  CopyHeader header{};
  if (read_at(file, at, std::as_writable_bytes(std::span(&header, 1))) < sizeof header) return;
  if (header.sequence != 0 || header.bytes != 0 || header.checksum != 0) copies.was_written = true;
  if (header.sequence <= copies.sequence || header.bytes > room - sizeof header) return;
  std::string text(header.bytes, '\0');
  const auto bytes = std::as_writable_bytes(std::span(text));
  if (read_at(file, at + sizeof header, bytes) < bytes.size()) return;
  if (checksum_of(header, bytes) != header.checksum) return;
  copies.latest = std::move(text);
  copies.sequence = header.sequence;
}

Copies read_copies(int file, std::size_t at, std::size_t room) {
  Copies copies;
  read_copy(file, at, room, copies);
  read_copy(file, at + room, room, copies);
  return copies;
}

}  // namespace

Moment this_moment(std::uint64_t tsc, std::uint64_t tsc_hz) {
  Moment moment{.tsc = tsc, .tsc_hz = tsc_hz, .boot = boot_time(), .boot_id = {}};
  std::ifstream("/proc/sys/kernel/random/boot_id") >> moment.boot_id;
  return moment;
}

Result<FormerImage> FormerImage::open(FileDescriptor file, const std::string& path, const Moment& now) {
  ImageHeader header{};
  if (read_at(file.number(), 0, std::as_writable_bytes(std::span(&header, 1))) < sizeof header)
    return tl::unexpected(Error{path, "is damaged: it has no whole header"});
  if (const char* fault = fault_of(header, now); fault != nullptr) return tl::unexpected(Error{path, fault});
  auto names = names_in(read_copies(file.number(), kNamesAt, kNamesBytes).latest);
  if (!names) return tl::unexpected(Error{path, "is damaged: its names cannot be read"});
  return FormerImage(std::move(file), header, *std::move(names));
}

Result<Totals> FormerImage::totals() const {
  const Copies copies =
      read_copies(file_.number(), totals_at(header_.workers, header_.capacity), kTotalsBytes);
  if (!copies.was_written) return tl::unexpected(Error{"", "the version before has kept none"});
  auto totals = totals_in(copies.latest);
  if (!totals) return tl::unexpected(Error{"", "what was kept of them is damaged"});
  return *std::move(totals);
}

std::uint64_t FormerImage::start_tsc(const Moment& now) const {
  const std::uint64_t passed = now.tsc - header_.start_tsc;
  const double share = static_cast<double>(passed % header_.tsc_hz) / static_cast<double>(header_.tsc_hz);
  const auto rest = static_cast<std::uint64_t>(share * static_cast<double>(now.tsc_hz));
  return now.tsc - (passed / header_.tsc_hz * now.tsc_hz + rest);
}

std::size_t FormerImage::read(unsigned worker, std::uint32_t first, std::span<conntrack::Session> out) const {
  if (first >= header_.capacity) return 0;
  out = out.first(std::min<std::size_t>(out.size(), header_.capacity - first));
  const std::size_t at =
      records_of_worker_at(worker, header_.capacity) + std::size_t{first} * sizeof(conntrack::Session);
  return read_at(file_.number(), at, std::as_writable_bytes(out)) / sizeof(conntrack::Session);
}

}  // namespace vmnat::control
