// SPDX-License-Identifier: Apache-2.0
// Where a benchmark's session records stand, by VMNAT_RECORDS: "private" (the default: the table's own pages,
// huge if there are any), "shared" (a file of ordinary pages, as a tmpfs gives them), "hugetlb" (a file of huge
// pages). vmnatd's are shared, so that sessions survive it: what that costs is the difference.
#pragma once

#include <cstdlib>
#include <span>
#include <string_view>
#include <sys/mman.h>
#include <unistd.h>

#include "conntrack/session.h"

namespace vmnat::conntrack {

class RecordMemory {
 public:
  explicit RecordMemory(std::size_t capacity) {
    const char* const asked = std::getenv("VMNAT_RECORDS");
    const std::string_view kind = asked == nullptr ? "private" : asked;
    if (kind == "private") return;
    constexpr std::size_t kHugePage = 2u << 20;
    const std::size_t bytes = (capacity * sizeof(Session) + kHugePage - 1) / kHugePage * kHugePage;
    const int file = memfd_create("records", kind == "hugetlb" ? MFD_HUGETLB : 0u);
    if (file < 0 || ftruncate(file, static_cast<off_t>(bytes)) != 0) std::abort();
    void* const at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (at == MAP_FAILED) std::abort();
    bytes_ = bytes;
    records_ = {static_cast<Session*>(at), capacity};
  }
  RecordMemory(const RecordMemory&) = delete;
  RecordMemory& operator=(const RecordMemory&) = delete;
  ~RecordMemory() {
    if (!records_.empty()) munmap(records_.data(), bytes_);
  }
  // None: the table has its own.
  [[nodiscard]] std::span<Session> records() const { return records_; }

 private:
  std::size_t bytes_ = 0;
  std::span<Session> records_;
};

}  // namespace vmnat::conntrack
