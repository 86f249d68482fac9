// SPDX-License-Identifier: Apache-2.0
// Connections with VMMs at once, whoever listens.
//
// librte_vhost has two threads. The one that connects (ports of `mode: client`) sleeps for a second between its tries;
// the one that reads does not hear of a new socket (`mode: server`) before a poll(2) of a second has ended. There is no
// call that would wake either; a signal does. So control has the kernel tell of the sockets' directories
// (directory_watch.h), looks at the files of one where something may have changed, and when a socket has come up it wakes
// both threads a few times in a row: a file may be there before anybody listens, and a signal may come before the sleep.
//
//   0 ms    QEMU binds vm1.sock, and listens
//   40 ms   control's tick: the directory has changed, the file is another one than before; the thread is woken,
//           connects, and vm1 is up
//
// A file whose directory cannot be watched, or that is a link to elsewhere, is looked at 30 times a second at most.
// What nobody sees so (a file that stays, where somebody starts to listen) is found within the second.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/time.h"
#include "control/system/directory_watch.h"

namespace vmnat::control {

inline constexpr std::chrono::milliseconds kLookForSockets{30};

// The socket's file of one port. Control's thread.
class SocketFile {
 public:
  explicit SocketFile(std::string path);
  // The directory that it is in.
  [[nodiscard]] const std::string& directory() const { return directory_; }
  // Looks, if its directory has another version than the last time, or none. True for half a second from when the file
  // has come up, or another one has under its name.
  bool has_come(SteadyTime now, std::optional<DirectoryWatch::Version> version);
  // When it was looked at last: is it there? And has has_come() just seen that it is something else than before, or
  // looked for the first time?
  [[nodiscard]] bool is_there() const { return seen_ && seen_->is_socket; }
  [[nodiscard]] bool has_changed() const { return has_changed_; }
  // Why nobody could connect by what stands there; empty: somebody may listen, or nothing is there.
  [[nodiscard]] std::string fault() const;

 private:
  static constexpr std::chrono::milliseconds kFresh{500};
  // What tells a file from another one that has its name, and maybe its inode, later.
  struct Identity {
    dev_t device;
    ino_t inode;
    std::int64_t changed_s, changed_ns;
    bool is_socket;
    bool operator==(const Identity&) const = default;
  };
  [[nodiscard]] std::optional<Identity> identity() const;
  [[nodiscard]] bool is_elsewhere() const;
  void look(SteadyTime now);

  std::string path_, directory_;
  std::optional<DirectoryWatch::Version> looked_at_;  // nothing: the next look is due in any case
  std::optional<Identity> seen_;                      // of whatever has the name
  bool is_first_look_ = true, has_changed_ = false;
  SteadyTime fresh_until_{};
};

// librte_vhost's, of which a process has one each.
class VhostThreads {
 public:
  // False: there is none (yet).
  bool wake();

 private:
  static constexpr std::array<const char*, 2> kNames{"vhost_reconn", "vhost-events"};
  bool is_ready_ = false;  // for the signal
  std::array<pid_t, kNames.size()> threads_{};
};

}  // namespace vmnat::control
