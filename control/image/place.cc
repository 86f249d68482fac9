// SPDX-License-Identifier: Apache-2.0
#include "control/image/place.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <linux/magic.h>
#include <sstream>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <system_error>
#include <unistd.h>

#include "control/image/layout.h"

namespace vmnat::control {
namespace {

namespace fs = std::filesystem;

bool is_tmpfs(const std::string& directory) {
  struct statfs status {};
  return statfs(directory.c_str(), &status) == 0 && status.f_type == TMPFS_MAGIC;
}

bool has_pages_of_2_mib(const std::string& directory) {
  struct statfs status {};
  return statfs(directory.c_str(), &status) == 0 && status.f_type == HUGETLBFS_MAGIC &&
         static_cast<std::size_t>(status.f_bsize) == kHugePage && access(directory.c_str(), W_OK) == 0;
}

std::vector<std::string> hugetlbfs_mounts() {
  std::vector<std::string> directories;
  std::ifstream mounts("/proc/self/mounts");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string device, directory, type;
    fields >> device >> directory >> type;
    if (type == "hugetlbfs" && has_pages_of_2_mib(directory)) directories.push_back(directory);
  }
  return directories;
}

std::string file_name_of(const std::string& socket_path) {
  std::string name = "vmnat" + fs::absolute(socket_path).lexically_normal().string() + ".sessions";
  std::ranges::replace(name, '/', '-');
  return name;
}

bool is_at(int file, const std::string& path) {
  struct stat open {};
  struct stat named {};
  return fstat(file, &open) == 0 && lstat(path.c_str(), &named) == 0 && open.st_dev == named.st_dev &&
         open.st_ino == named.st_ino;
}

bool is_ours(int file) {
  struct stat status {};
  return fstat(file, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid() &&
         (status.st_mode & (S_IRWXG | S_IRWXO)) == 0;
}

Error system_error(const std::string& path, int number) {
  return {path, std::generic_category().message(number)};
}

}  // namespace

std::vector<ImagePlace> image_places(const std::string& socket_path) {
  std::vector<ImagePlace> places;
  for (const std::string& directory : hugetlbfs_mounts())
    places.push_back({.path = directory + '/' + file_name_of(socket_path), .is_huge = true});
  if (is_tmpfs(fs::absolute(socket_path).parent_path()))
    places.push_back({.path = fs::absolute(socket_path).lexically_normal().string() + ".sessions"});
  if (is_tmpfs("/dev/shm")) places.push_back({.path = "/dev/shm/" + file_name_of(socket_path)});
  return places;
}

LockedFile lock_existing(const std::string& path) {
  for (;;) {
    FileDescriptor file{open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)};
    if (!file.is_open()) return {.found = errno == ENOENT ? Found::Nothing : Found::Foreign, .file = {}};
    if (!is_ours(file.number())) return {.found = Found::Foreign, .file = {}};
    if (flock(file.number(), LOCK_EX | LOCK_NB) != 0) return {.found = Found::InUse, .file = {}};
    // Else its owner has put another one in its place, before we had the lock.
    if (is_at(file.number(), path)) return {.found = Found::Locked, .file = std::move(file)};
  }
}

Result<FileDescriptor> lock_new(const std::string& path) {
  for (;;) {
    FileDescriptor file{open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
    if (file.is_open()) {
      if (flock(file.number(), LOCK_EX | LOCK_NB) == 0 && is_at(file.number(), path)) return file;
      return tl::unexpected(Error{path, "another vmnatd starts with the same control.socket"});
    }
    if (errno != EEXIST) return tl::unexpected(system_error(path, errno));
    const LockedFile left = lock_existing(path);
    if (left.found == Found::InUse)
      return tl::unexpected(Error{path, "another vmnatd starts with the same control.socket"});
    if (left.found == Found::Foreign)
      return tl::unexpected(Error{path, "is no file of this user's alone; remove it"});
    if (left.found == Found::Locked) unlink(path.c_str());
  }
}

}  // namespace vmnat::control
