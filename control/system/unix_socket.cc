// SPDX-License-Identifier: Apache-2.0
#include "control/system/unix_socket.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <system_error>
#include <unistd.h>

namespace vmnat::control {
namespace {

tl::unexpected<Error> cannot_be_replaced(const std::string& path, int error) {
  return tl::unexpected(Error{path, "cannot be replaced: " + std::generic_category().message(error)});
}

// 0, or the error number of connecting to the socket. Never waits: a listener whose queue is full is EAGAIN.
int connect_error(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return errno;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  const int error = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
  close(fd);
  return error;
}

}  // namespace

Result<void> remove_stale_socket(const std::string& path) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) return {};
  if (!S_ISSOCK(status.st_mode)) return tl::unexpected(Error{path, "exists and is not a socket"});
  const int error = connect_error(path);
  if (error == 0 || error == EAGAIN)
    return tl::unexpected(Error{path, "another program answers on it (is vmnatd running already?)"});
  if (error != ECONNREFUSED) return cannot_be_replaced(path, error);
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return cannot_be_replaced(path, errno);
  return {};
}

void remove_foreign_socket(const std::string& path) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) return;
  if (status.st_uid != 0 && status.st_uid != geteuid()) unlink(path.c_str());
}

std::string distrust_of_listener(int connection, const std::string& path) {
  ucred listener{};
  socklen_t length = sizeof listener;
  if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &listener, &length) != 0)
    return std::generic_category().message(errno);
  if (listener.uid == 0 || listener.uid == geteuid()) return {};
  struct stat status {};
  const auto directory = std::filesystem::absolute(path).parent_path();
  if (stat(directory.c_str(), &status) == 0 && status.st_uid == listener.uid) return {};
  return "user " + std::to_string(listener.uid) + " listens on it, who is not vmnatd's";
}

std::optional<std::string> closed_directory(const std::string& path, gid_t group) {
  const auto directory = std::filesystem::absolute(path).lexically_normal().parent_path();
  std::filesystem::path so_far;
  for (const auto& step : directory) {
    so_far /= step;
    struct stat status {};
    if (stat(so_far.c_str(), &status) != 0) return so_far;
    const mode_t search = status.st_gid == group ? S_IXGRP : S_IXOTH;
    if ((status.st_mode & search) == 0) return so_far;
  }
  return std::nullopt;
}

SocketDirectoryLock::SocketDirectoryLock(const std::string& path)
    : directory_(
          open(std::filesystem::absolute(path).parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (directory_ >= 0) flock(directory_, LOCK_EX);
}

SocketDirectoryLock::~SocketDirectoryLock() {
  if (directory_ >= 0) close(directory_);
}

}  // namespace vmnat::control
