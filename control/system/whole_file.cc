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

std::string fresh_path(const std::string& path) {
  return path + ".new";
}

}  // namespace

Result<FreshFile> FreshFile::write(const std::string& path, std::span<const std::byte> bytes, Readers readers,
                                   Writing writing) {
  const mode_t mode = readers == Readers::All ? 0644 : 0600;
  FreshFile fresh{path, FileDescriptor{::open(fresh_path(path).c_str(),
                                              O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, mode)}};
  const int file = fresh.file_.number();
  if (fresh.file_.is_open() && write_all(file, bytes) && (writing == Writing::Fast || ::fsync(file) == 0))
    return fresh;
  return cannot_be_written(path);  // what was written goes: a full disk needs the room
}

FreshFile::~FreshFile() {
  if (file_.is_open()) ::unlink(fresh_path(path_).c_str());
}

Result<FileDescriptor> FreshFile::put_in_place() && {
  if (::rename(fresh_path(path_).c_str(), path_.c_str()) != 0) return cannot_be_written(path_);
  return std::move(file_);
}

Result<void> FreshFile::put_in_place_durably() && {
  const std::string path = path_;
  const auto placed = std::move(*this).put_in_place();
  if (!placed) return tl::unexpected(placed.error());
  if (!sync_directory_of(path)) return cannot_be_written(path);
  return {};
}

Result<FileDescriptor> put_in_place(const std::string& path, std::span<const std::byte> bytes,
                                    Readers readers, Writing writing) {
  auto fresh = FreshFile::write(path, bytes, readers, writing);
  if (!fresh) return tl::unexpected(fresh.error());
  return std::move(*fresh).put_in_place();
}

Result<void> replace_file(const std::string& path, std::string_view text, Writing writing) {
  auto fresh = FreshFile::write(path, std::as_bytes(std::span{text}), Readers::All, writing);
  if (!fresh) return tl::unexpected(fresh.error());
  if (writing == Writing::Durable) return std::move(*fresh).put_in_place_durably();
  const auto placed = std::move(*fresh).put_in_place();
  if (!placed) return tl::unexpected(placed.error());
  return {};
}

}  // namespace vmnat::control
