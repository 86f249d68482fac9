// SPDX-License-Identifier: Apache-2.0
#include "control/unix_socket.h"

#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace vmnat::control {

Result<void> remove_stale_socket(const std::string& path) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) return {};
  if (!S_ISSOCK(status.st_mode)) return tl::unexpected(Error{path, "exists and is not a socket"});
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return tl::unexpected(Error{path, std::string("cannot be examined: ") + std::strerror(errno)});
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  const bool answers = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  close(fd);
  if (answers) return tl::unexpected(Error{path, "another process listens on it already"});
  if (unlink(path.c_str()) != 0)
    return tl::unexpected(Error{path, std::string("cannot be removed: ") + std::strerror(errno)});
  return {};
}

}  // namespace vmnat::control
