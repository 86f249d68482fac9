// SPDX-License-Identifier: Apache-2.0
// UNIX socket files: who owns one, and clearing away what a dead process left.
#pragma once

#include <optional>
#include <string>
#include <sys/types.h>

#include "control/result.h"

namespace vmnat::control {

// Removes the socket at `path` if nobody listens on it. Fails when somebody does, or when something other
// than a socket stands there.
Result<void> remove_stale_socket(const std::string& path);

// Removes a socket at `path` that belongs to a user who is neither root nor this process's: in a directory that others
// may write to, one of them has put it there while nobody of ours listened.
void remove_foreign_socket(const std::string& path);

// Why the program at the other end of a connection to the socket at `path` is not to be believed; empty: it is root's,
// this user's, or that of the directory's owner, who decides what stands there.
std::string distrust_of_listener(int connection, const std::string& path);

// The directory on the way to `path` that keeps the group from going through, as its mode says; nothing: none does.
std::optional<std::string> closed_directory(const std::string& path, gid_t group);

// From the look whether a socket's path is free until somebody listens on it, held by one process at a time:
// of two daemons that start together, the second one finds the socket of the first, and leaves it alone.
class SocketDirectoryLock {
 public:
  explicit SocketDirectoryLock(const std::string& path);  // the socket's; waits
  SocketDirectoryLock(const SocketDirectoryLock&) = delete;
  SocketDirectoryLock& operator=(const SocketDirectoryLock&) = delete;
  ~SocketDirectoryLock();

 private:
  int directory_;
};

}  // namespace vmnat::control
