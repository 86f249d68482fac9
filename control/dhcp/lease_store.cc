// SPDX-License-Identifier: Apache-2.0
// Writing so that it holds: write, fdatasync; a new file gets fsync, rename, and fsync of its directory.
#include "control/dhcp/lease_store.h"

#include <cerrno>
#include <fcntl.h>
#include <optional>
#include <system_error>
#include <unistd.h>

#include "control/system/whole_file.h"

namespace vmnat::control {
namespace {

constexpr std::size_t kReadChunk = 64 * 1024;

// The whole file; nothing on an error, which is in errno.
std::optional<dhcp::Bytes> read_all(int file) {
  dhcp::Bytes bytes;
  for (;;) {
    const std::size_t end = bytes.size();
    bytes.resize(end + kReadChunk);
    const ssize_t count = ::read(file, bytes.data() + end, kReadChunk);
    if (count < 0 && errno != EINTR) return std::nullopt;
    bytes.resize(end + static_cast<std::size_t>(count > 0 ? count : 0));
    if (count == 0) return bytes;
  }
}

}  // namespace

Error LeaseStore::failure(const char* what) const {
  return {path_, std::string{what} + ": " + std::generic_category().message(errno)};
}

Result<LeaseStore> LeaseStore::open(std::string path) {
  LeaseStore store{std::move(path)};
  std::size_t old_size = 0;  // of a journal
  const FileDescriptor old{::open(store.path_.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!old.is_open() && errno != ENOENT)
    return tl::unexpected(store.failure("the lease journal cannot be opened"));
  if (old.is_open()) {
    const auto bytes = read_all(old.number());
    if (!bytes) return tl::unexpected(store.failure("the lease journal cannot be read"));
    dhcp::JournalContent content = dhcp::read_journal(*bytes);
    if (!content.is_journal && !bytes->empty())
      return tl::unexpected(
          Error{store.path_, "is not a lease journal; move it away to start with no leases"});
    store.found_ = std::move(content.leases);
    store.damaged_bytes_ = content.damaged_bytes;
    if (content.is_journal) old_size = bytes->size();
  }
  const auto written = store.compact(store.found_);
  if (!written && !store.go_on_with_old(old_size)) return tl::unexpected(written.error());
  return store;
}

// What is appended is found behind a damaged end, too. True when there is a file to append to.
bool LeaseStore::go_on_with_old(std::size_t size) {
  if (file_.is_open()) return true;
  if (size == 0) return false;
  file_ = FileDescriptor{::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC)};
  size_ = compact_size_ = size;
  return file_.is_open();
}

Result<void> LeaseStore::append(std::span<const dhcp::Lease> changes) {
  if (changes.empty()) return {};
  const dhcp::Bytes records = dhcp::journal_records(changes);
  if (!write_all(file_.number(), records) || ::fdatasync(file_.number()) != 0) {
    const Error error = failure("leases cannot be written");
    // What was written of the records goes; if it does not, reading skips it.
    if (::ftruncate(file_.number(), static_cast<off_t>(size_)) != 0) errno = 0;
    return tl::unexpected(error);
  }
  size_ += records.size();
  return {};
}

Result<void> LeaseStore::compact(std::span<const dhcp::Lease> leases) {
  dhcp::Bytes bytes = dhcp::journal_header();
  for (const dhcp::Lease& lease : leases) {
    const bool lasts = lease.state != dhcp::LeaseState::Offered && lease.state != dhcp::LeaseState::Reserved;
    if (!lasts) continue;
    const dhcp::Bytes record = dhcp::journal_records({&lease, 1});
    bytes.insert(bytes.end(), record.begin(), record.end());
  }
  auto fresh = put_in_place(path_, bytes, Readers::OwnerOnly, Writing::Durable);
  if (!fresh) return tl::unexpected(Error{path_, "the lease journal " + fresh.error().what});
  // From here on the new file is the journal, also when the directory's sync fails.
  file_ = std::move(*fresh);
  size_ = compact_size_ = bytes.size();
  if (!sync_directory_of(path_)) return tl::unexpected(failure("the journal's directory cannot be synced"));
  return {};
}

}  // namespace vmnat::control
