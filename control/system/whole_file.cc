// SPDX-License-Identifier: Apache-2.0
#include "control/system/whole_file.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <system_error>
#include <unistd.h>

namespace vmnat::control {
namespace {

tl::unexpected<Error> cannot_be_written(const std::string& path) {
  return tl::unexpected(Error{path, "cannot be written: " + std::generic_category().message(errno)});
}

}  // namespace

Result<FileDescriptor> put_in_place(const std::string& path, std::span<const std::byte> bytes,
                                    Readers readers, Writing writing) {
  const std::string fresh_path = path + ".new";
  const mode_t mode = readers == Readers::All ? 0644 : 0600;
  FileDescriptor fresh{::open(fresh_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, mode)};
  if (fresh.is_open() && write_all(fresh.number(), bytes) &&
      (writing == Writing::Fast || ::fsync(fresh.number()) == 0) &&
      ::rename(fresh_path.c_str(), path.c_str()) == 0)
    return fresh;
  const auto error = cannot_be_written(path);
  ::unlink(fresh_path.c_str());  // a full disk needs the room
  return error;
}

Result<void> replace_file(const std::string& path, std::string_view text, Writing writing) {
  const auto replaced = put_in_place(path, std::as_bytes(std::span{text}), Readers::All, writing);
  if (!replaced) return tl::unexpected(replaced.error());
  if (writing == Writing::Durable && !sync_directory_of(path)) return cannot_be_written(path);
  return {};
}

}  // namespace vmnat::control
