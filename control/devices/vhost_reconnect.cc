// SPDX-License-Identifier: Apache-2.0
#include "control/devices/vhost_reconnect.h"

#include <cerrno>
#include <charconv>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace vmnat::control {
namespace {

namespace fs = std::filesystem;

// Ignored by default: a process that somebody else sends it to does not mind.
constexpr int kSignal = SIGURG;

// A handler that does nothing: a signal that is ignored interrupts nobody. Sleeping ends all the same with
// SA_RESTART, which all else that the thread may be at goes on with (signal(7)).
bool set_handler() {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  return sigaction(kSignal, &action, nullptr) == 0;
}

// 0: there is none of that name.
pid_t thread_named(std::string_view wanted) {
  std::error_code error;
  for (const auto& task : fs::directory_iterator("/proc/self/task", error)) {
    std::string name;
    std::ifstream file(task.path() / "comm");
    std::getline(file, name);
    const std::string number = task.path().filename();
    pid_t thread = 0;
    std::from_chars(number.data(), number.data() + number.size(), thread);
    if (name == wanted) return thread;
  }
  return 0;
}

}  // namespace

SocketFile::SocketFile(std::string path)
    : path_(std::move(path)), directory_(fs::path(path_).parent_path().string()) {
  if (directory_.empty()) directory_ = ".";
}

// A link: its directory does not tell what becomes of the file.
bool SocketFile::is_elsewhere() const {
  struct stat status {};
  return lstat(path_.c_str(), &status) == 0 && S_ISLNK(status.st_mode);
}

std::optional<SocketFile::Identity> SocketFile::identity() const {
  struct stat status {};
  if (stat(path_.c_str(), &status) != 0) return std::nullopt;
  return Identity{status.st_dev, status.st_ino, status.st_ctim.tv_sec, status.st_ctim.tv_nsec,
                  S_ISSOCK(status.st_mode)};
}

bool SocketFile::has_come(SteadyTime now, std::optional<DirectoryWatch::Version> version) {
  has_changed_ = false;
  if (!version || version != looked_at_) {
    look(now);
    looked_at_ = is_elsewhere() ? std::nullopt : version;
  }
  return is_there() && now < fresh_until_;
}

void SocketFile::look(SteadyTime now) {
  const auto before = std::exchange(seen_, identity());
  has_changed_ = std::exchange(is_first_look_, false) || seen_ != before;
  if (is_there() && seen_ != before) fresh_until_ = now + kFresh;
}

std::string SocketFile::fault() const {
  struct stat status {};
  if (stat(path_.c_str(), &status) != 0) return errno == ENOENT ? "" : std::generic_category().message(errno);
  if (!S_ISSOCK(status.st_mode)) return "it is no socket";
  const bool may_connect = faccessat(AT_FDCWD, path_.c_str(), W_OK, AT_EACCESS) == 0;
  return may_connect ? "" : std::generic_category().message(errno);
}

bool VhostThreads::wake() {
  if (!is_ready_) is_ready_ = set_handler();
  bool is_one_woken = false;
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (threads_[i] == 0) threads_[i] = thread_named(kNames[i]);
    is_one_woken |= is_ready_ && threads_[i] != 0 && syscall(SYS_tgkill, getpid(), threads_[i], kSignal) == 0;
  }
  return is_one_woken;
}

}  // namespace vmnat::control
