// SPDX-License-Identifier: Apache-2.0
// Keeps one network's leases on stable storage: the file side of dhcp/journal.h.
//
// `append` returns when the records are on the disk, so what is sent after it is never lost: not by
// kill -9, not by a power cut. One append holds the changes of a whole burst of frames (one fdatasync).
// `open` and `compact` write a new file beside the old one and rename it: there is one whole journal at
// any time. A write that fails leaves the file as it was before; what it was to hold is the caller's to keep
// (lease_keeper.h).
// Example: 253 leases of one hour renew every 30 minutes: 20 kB a renewal round, compacted at 1 MB.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "control/result.h"
#include "control/system/file_descriptor.h"
#include "dhcp/journal.h"

namespace vmnat::control {

class LeaseStore {
 public:
  // Reads the journal at `path` and writes it anew, compact; makes one when there is none. When there is no
  // room for a new one, the old one is gone on with. An existing file that is no journal is an error, and
  // stays as it is.
  static Result<LeaseStore> open(std::string path);

  // What `open` found: for dhcp::Server::load. Records cut short or damaged are not among them.
  [[nodiscard]] const std::vector<dhcp::Lease>& found() const { return found_; }
  [[nodiscard]] std::size_t damaged_bytes() const { return damaged_bytes_; }

  // Adds records, and returns when they are on stable storage. Nothing to add costs nothing.
  Result<void> append(std::span<const dhcp::Lease> changes);
  // Whether the journal has grown enough to be worth `compact`.
  [[nodiscard]] bool wants_compaction() const { return size_ > compact_size_ * 2 + kMinGrowth; }
  // Replaces the journal by one with these leases alone: all that the server has (Server::leases()).
  Result<void> compact(std::span<const dhcp::Lease> leases);

  [[nodiscard]] std::size_t size() const { return size_; }  // of the file, in bytes

 private:
  static constexpr std::size_t kMinGrowth = 1 << 20;

  explicit LeaseStore(std::string path) : path_(std::move(path)) {}
  [[nodiscard]] Error failure(const char* what) const;  // from errno
  bool go_on_with_old(std::size_t size);

  std::string path_;
  FileDescriptor file_;
  std::size_t size_ = 0;
  std::size_t compact_size_ = 0;
  std::vector<dhcp::Lease> found_;
  std::size_t damaged_bytes_ = 0;
};

}  // namespace vmnat::control
