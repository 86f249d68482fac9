// SPDX-License-Identifier: Apache-2.0
// DirectoryWatch: whether anything may have changed among the files of a directory, without looking at them.
//
// The kernel tells (inotify) of the directory, or, while it does not exist, of the nearest one above it that does. Each
// directory has a version, which grows whenever something may have changed: a file came, went, was renamed or had its
// rights changed, the directory itself was replaced, or the kernel had too much to tell. Of a directory that cannot be
// watched (no rights to read it, the kernel's limits are exhausted) there is no version: who wants to know has to look.
//
//     DirectoryWatch watch;
//     watch.follow(now);                              // each round: two or three system calls, however many files
//     if (watch.version_of("/run/vmnat") != before)   // look at the files there
//
// A directory that nobody has asked for in 10 s is not watched any more. Control's thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <sys/types.h>

#include "base/time.h"
#include "control/system/file_descriptor.h"

namespace vmnat::control {

class DirectoryWatch {
 public:
  using Version = std::uint64_t;

  DirectoryWatch();
  // Takes in what the kernel has told. Once a second it also looks whether each directory is still the one that it
  // watches, which it is not told if one further up was replaced.
  void follow(SteadyTime now);
  // Of a directory's files, from the first question on. Nothing: it cannot be told.
  std::optional<Version> version_of(const std::string& path);

 private:
  static constexpr std::chrono::seconds kLookAgain{1}, kForgetAfter{10};
  static constexpr int kNone = -1;
  struct Identity {
    dev_t device;
    ino_t inode;
    bool operator==(const Identity&) const = default;
  };
  struct Directory {
    int watch = kNone;
    std::optional<Identity>
        identity;  // of the directory itself when it was watched; nothing: it was not there, and one above is
    Version version = 0;
    std::uint32_t told = 0;  // inotify's masks of this round
    SteadyTime asked{};
  };
  static std::optional<Identity> identity_of(const std::string& path);
  [[nodiscard]] int add(const std::string& path) const;
  [[nodiscard]] int add_nearest(const std::string& path) const;
  void begin(const std::string& path, Directory& directory);
  void end(Directory& directory);
  void take_events();
  void note(int watch, std::uint32_t mask);
  void look_again();

  FileDescriptor events_;  // not open: the kernel gave none
  std::map<std::string, Directory> directories_;
  SteadyTime now_{}, next_look_{};
};

}  // namespace vmnat::control
