// SPDX-License-Identifier: Apache-2.0
// SessionImage: the file behind the session records of this process. Workers write their records as ever; that
// these words are a file's is all that there is to it.
//
// It is made beside the image of the process before (PATH.new), filled from it, and takes its place when it is
// complete: a kill at any moment leaves one of the two. On a clean stop it stays, too.
//
// Threads: control's, but for the records.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "conntrack/session.h"
#include "control/image/former_image.h"
#include "control/image/layout.h"
#include "control/image/names.h"
#include "control/image/place.h"
#include "control/image/totals.h"

namespace vmnat::control {

class SessionImage {
 public:
  struct Shape {
    std::vector<int> worker_nodes;  // NUMA, by worker
    std::uint32_t capacity = 0;     // records of each worker
    std::uint64_t start_tsc = 0;    // when the workers' clock was 0
  };
  // Fails when there is no memory for all records.
  static Result<SessionImage> create(const ImagePlace& place, const Shape& shape, const Moment& now);
  SessionImage(SessionImage&& other) noexcept;
  SessionImage& operator=(SessionImage&&) = delete;
  SessionImage(const SessionImage&) = delete;
  SessionImage& operator=(const SessionImage&) = delete;
  // One that has taken effect stays, and says that the process has stopped by itself.
  ~SessionImage();

  [[nodiscard]] const ImagePlace& place() const { return place_; }
  // Blank, from the start of a huge page on.
  [[nodiscard]] std::span<conntrack::Session> records(WorkerIndex worker);
  // All memory of the image.
  [[nodiscard]] std::span<std::byte> memory() const { return memory_; }

  // What numbers stand for from now on; before the first record with a new number is written. False: there are
  // too many names, and the ones before stay.
  bool set_names(const SessionNames& names);
  // What this process and those before it have counted. False: they do not fit, and the ones before stay.
  bool set_totals(const Totals& totals);
  // Replaces the former image. Names have been set.
  Result<void> take_effect();

 private:
  SessionImage(FileDescriptor file, ImagePlace place, std::span<std::byte> memory)
      : file_(std::move(file)), place_(std::move(place)), memory_(memory) {}
  void start(const Shape& shape, const Moment& now);
  // One of the two copies in which a text is kept.
  struct Room {
    std::size_t at, bytes;  // of the first copy, and of each
  };
  bool write_copy(Room room, std::string_view text, std::uint64_t& written);
  [[nodiscard]] ImageHeader& header() { return *at<ImageHeader>(0); }
  template <typename T>
  [[nodiscard]] T* at(std::size_t offset) {
    return static_cast<T*>(static_cast<void*>(memory_.data() + offset));
  }

  FileDescriptor file_;  // holds the lock
  ImagePlace place_;
  std::span<std::byte> memory_;
  std::uint64_t names_written_ = 0, totals_written_ = 0;  // how often
  bool has_taken_effect_ = false;
};

}  // namespace vmnat::control
