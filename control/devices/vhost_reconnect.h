// SPDX-License-Identifier: Apache-2.0
// Connecting to a VMM at once when it listens (ports of `mode: client`).
//
// librte_vhost tries to connect once a second, in a thread that sleeps in between, and has no call that would
// have it try now. A signal ends the sleep. So control looks at the sockets' files, 30 times a second at most, and when
// one has come up it wakes the thread a few times in a row: a file may be there before anybody listens.
//
//   0 ms    QEMU binds vm1.sock, and listens
//   30 ms   the file is another one than before: the thread is woken, connects, and vm1 is up
//
// What nobody sees so (a file that stays, where somebody starts to listen) is found within the second.
#pragma once

#include <optional>
#include <string>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/time.h"

namespace vmnat::control {

inline constexpr std::chrono::milliseconds kLookForListeners{30};

// The socket's file of one port. Control's thread.
class ListenerFile {
 public:
  explicit ListenerFile(std::string path) : path_(std::move(path)) {}
  // Looks. True for half a second from when the file has come up, or another one has under its name.
  bool has_come(SteadyTime now);

 private:
  static constexpr std::chrono::milliseconds kFresh{500};
  // What tells a file from another one that has its name, and maybe its inode, later.
  struct Identity {
    dev_t device;
    ino_t inode;
    std::int64_t changed_s, changed_ns;
    bool operator==(const Identity&) const = default;
  };
  [[nodiscard]] std::optional<Identity> identity() const;

  std::string path_;
  std::optional<Identity> seen_;
  SteadyTime fresh_until_{};
};

// librte_vhost's thread that connects. One a process.
class ConnectingThread {
 public:
  // False: there is none (yet).
  bool wake();

 private:
  bool is_ready_ = false;  // for the signal
  pid_t thread_ = 0;
};

}  // namespace vmnat::control
