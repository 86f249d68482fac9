// SPDX-License-Identifier: Apache-2.0
// Where a session image may stand: on a file system that is memory, under a name that follows from the control
// socket's, which no two daemons share.
//
//   hugetlbfs with 2 MiB pages                         /dev/hugepages/vmnat-run-vmnat-vmnat.sock.sessions
//   beside the control socket, if that is on a tmpfs   /run/vmnat/vmnat.sock.sessions
//   /dev/shm                                           /dev/shm/vmnat-run-vmnat-vmnat.sock.sessions
//
// Whoever has an image open has locked it (flock(2)), and so has who writes the one that will replace it.
#pragma once

#include <string>
#include <vector>

#include "control/result.h"
#include "control/system/file_descriptor.h"

namespace vmnat::control {

struct ImagePlace {
  std::string path;
  bool is_huge = false;  // its pages are huge ones

  [[nodiscard]] std::string path_of_next() const { return path + ".new"; }
};

// The best first; none where no file system is memory.
std::vector<ImagePlace> image_places(const std::string& socket_path);

enum class Found { Nothing, Locked, InUse, Foreign };
struct LockedFile {
  Found found = Found::Nothing;
  FileDescriptor file;  // when Locked: for reading and writing, and at its path still
};
// Foreign: no regular file of this user's alone.
LockedFile lock_existing(const std::string& path);
// A new file at the path; what a process that has ended left there is removed.
Result<FileDescriptor> lock_new(const std::string& path);

}  // namespace vmnat::control
