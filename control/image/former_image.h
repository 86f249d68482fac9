// SPDX-License-Identifier: Apache-2.0
// FormerImage: the image that an earlier process has left, as it is read at the start of this one.
//
// It is foreign bytes: read by pread(2), so that a file that is cut or cannot be read is an error and no fault;
// the header and the names are checked here, each record by who enters it (restore.h).
#pragma once

#include <optional>
#include <span>

#include "base/ids.h"
#include "base/time.h"
#include "conntrack/session.h"
#include "control/image/layout.h"
#include "control/image/names.h"
#include "control/image/totals.h"
#include "control/result.h"
#include "control/system/file_descriptor.h"

namespace vmnat::control {

// The clocks at one moment.
struct Moment {
  std::uint64_t tsc = 0;     // the time stamp counter
  std::uint64_t tsc_hz = 0;  // as this process has measured it
  BootTime boot;
  std::string boot_id;  // of the kernel
};
Moment this_moment(std::uint64_t tsc, std::uint64_t tsc_hz);

class FormerImage {
 public:
  // Refused: no such image, one of another boot or layout, one that is damaged, or whose clock has jumped.
  static Result<FormerImage> open(FileDescriptor file, const std::string& path, const Moment& now);

  [[nodiscard]] const ImageHeader& header() const { return header_; }
  [[nodiscard]] const SessionNames& names() const { return names_; }
  [[nodiscard]] bool is_clean() const { return header_.is_clean == 1; }
  // What was counted; an Error: it has no totals, or damaged ones.
  [[nodiscard]] Result<Totals> totals() const;
  // When the workers' clock was 0, by the frequency that this process has measured: idle times go on.
  [[nodiscard]] std::uint64_t start_tsc(const Moment& now) const;

  // Records of a worker from `first` on; how many were read. Fewer: the file has no more.
  [[nodiscard]] std::size_t read(unsigned worker, std::uint32_t first,
                                 std::span<conntrack::Session> out) const;

 private:
  FormerImage(FileDescriptor file, const ImageHeader& header, SessionNames names)
      : file_(std::move(file)), header_(header), names_(std::move(names)) {}

  FileDescriptor file_;
  ImageHeader header_;
  SessionNames names_;
};

}  // namespace vmnat::control
