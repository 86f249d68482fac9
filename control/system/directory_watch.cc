// SPDX-License-Identifier: Apache-2.0
#include "control/system/directory_watch.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace vmnat::control {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kChanges = IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB |
                                   IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
constexpr std::uint32_t kIsLost = IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED;
constexpr unsigned kMostReads = 16;  // in a round, of what may come without end
constexpr unsigned kMostLooks = 8;

}  // namespace

DirectoryWatch::DirectoryWatch() : events_(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {}

std::optional<DirectoryWatch::Identity> DirectoryWatch::identity_of(const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) return std::nullopt;
  return Identity{status.st_dev, status.st_ino};
}

// The same number for the same directory, by whatever path. kNone: why, is in errno.
int DirectoryWatch::add(const std::string& path) const {
  if (events_.is_open()) return inotify_add_watch(events_.number(), path.c_str(), kChanges);
  errno = EMFILE;
  return kNone;
}

// Of the directory, or of the nearest one above it that is there.
int DirectoryWatch::add_nearest(const std::string& path) const {
  int watch = add(path);
  for (fs::path above = path; watch == kNone && errno == ENOENT && above.has_relative_path();) {
    above = above.parent_path();
    watch = add(above.empty() ? "." : above.string());
  }
  return watch;
}

// What comes between a look and the watch above it is not told: so until two looks in a row end at the same place.
void DirectoryWatch::begin(const std::string& path, Directory& directory) {
  end(directory);
  ++directory.version;
  directory.identity = identity_of(path);
  directory.watch = add_nearest(path);
  for (unsigned looks = 1; directory.watch != kNone; ++looks) {
    const int again = add_nearest(path);
    if (again == directory.watch) return;
    end(directory);
    if (looks < kMostLooks) directory.watch = again;
  }
}

void DirectoryWatch::end(Directory& directory) {
  const int watch = std::exchange(directory.watch, kNone);
  const bool is_shared =
      std::ranges::any_of(directories_, [watch](const auto& entry) { return entry.second.watch == watch; });
  if (watch != kNone && !is_shared) inotify_rm_watch(events_.number(), watch);
}

void DirectoryWatch::follow(SteadyTime now) {
  now_ = now;
  for (auto entry = directories_.begin(); entry != directories_.end();) {
    const bool is_forgotten = now - entry->second.asked > kForgetAfter;
    if (is_forgotten) end(entry->second);
    entry = is_forgotten ? directories_.erase(entry) : std::next(entry);
  }
  if (!directories_.empty()) take_events();
  if (now < next_look_) return;
  next_look_ = now + kLookAgain;
  look_again();
}

void DirectoryWatch::take_events() {
  alignas(inotify_event) std::array<char, 4096> bytes;
  for (unsigned reads = 0; reads < kMostReads; ++reads) {
    const ssize_t got = read(events_.number(), bytes.data(), bytes.size());
    if (got <= 0) break;
    for (std::size_t at = 0; at + sizeof(inotify_event) <= static_cast<std::size_t>(got);) {
      inotify_event event{};
      std::memcpy(&event, bytes.data() + at, sizeof event);
      note(event.wd, event.mask);
      at += sizeof event + event.len;
    }
  }
  // A watch above a directory, or one that is lost, gives way to a new one.
  for (auto& [path, directory] : directories_) {
    const std::uint32_t told = std::exchange(directory.told, 0);
    if ((told & kIsLost) != 0 || (told != 0 && !directory.identity)) begin(path, directory);
    if (told != 0) ++directory.version;
  }
}

void DirectoryWatch::note(int watch, std::uint32_t mask) {
  for (auto& [path, directory] : directories_)
    if (directory.watch == watch || (mask & IN_Q_OVERFLOW) != 0) directory.told |= mask;
}

void DirectoryWatch::look_again() {
  for (auto& [path, directory] : directories_)
    if (directory.watch == kNone || identity_of(path) != directory.identity) begin(path, directory);
}

std::optional<DirectoryWatch::Version> DirectoryWatch::version_of(const std::string& path) {
  const auto [entry, is_new] = directories_.try_emplace(path);
  Directory& directory = entry->second;
  directory.asked = now_;
  if (is_new) begin(path, directory);
  if (directory.watch == kNone) return std::nullopt;
  return directory.version;
}

}  // namespace vmnat::control
