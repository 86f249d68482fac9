// SPDX-License-Identifier: Apache-2.0
#include "control/system/whole_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <span>
#include <unistd.h>

#include "control/system/file_descriptor.h"

namespace vmnat::control {

Result<void> replace_file(const std::string& path, std::string_view text, Writing writing) {
  const std::string fresh_path = path + ".new";
  const FileDescriptor fresh{::open(fresh_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)};
  const bool durable = writing == Writing::Durable;
  const bool written = fresh.is_open() && write_all(fresh.number(), std::as_bytes(std::span{text})) &&
                       (!durable || ::fsync(fresh.number()) == 0) &&
                       ::rename(fresh_path.c_str(), path.c_str()) == 0 &&
                       (!durable || sync_directory_of(path));
  if (written) return {};
  const Error error{path, std::string{"cannot be written: "} + std::strerror(errno)};
  ::unlink(fresh_path.c_str());  // a full disk needs the room
  return tl::unexpected(error);
}

}  // namespace vmnat::control
