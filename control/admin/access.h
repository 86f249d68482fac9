// SPDX-License-Identifier: Apache-2.0
// Who may do what at the admin socket.
//
//   root, the user that vmnatd runs as, control.admins    look and change
//   members of control.group                              look
//   others                                                nothing
//
// The kernel says who is at the other end (SO_PEERCRED, SO_PEERGROUPS), as it was when they connected: a process
// that gives its rights away afterwards keeps its connection. The mode of the socket keeps out whom it can; where
// control.admins names somebody, everybody may connect, and is told what the table says.
#pragma once

#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

#include "control/result.h"
#include "control/system/unix_socket.h"

namespace vmnat::admin {

// Each includes those before it.
enum class Access { None, Look, Change };

struct AccessRules {
  std::optional<gid_t> group;
  std::vector<uid_t> admins;
};

// control.group and control.admins, by their names. An Error names the one that this machine does not know. It may
// ask a directory service, and wait.
control::Result<AccessRules> access_rules(const std::string& group, const std::vector<std::string>& admins);

// Whoever is at the other end of a connection.
struct Peer {
  uid_t user;
  std::vector<gid_t> groups;
};
std::optional<Peer> peer_of(int connection);

Access access_of(const Peer& peer, const AccessRules& rules);

// Gives the socket to the group, and lets in all who may have access to it.
control::Result<void> restrict_socket(const std::string& path, const AccessRules& rules);

using control::closed_directory;  // what keeps control.group from the socket

}  // namespace vmnat::admin
