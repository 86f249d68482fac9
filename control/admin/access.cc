// SPDX-License-Identifier: Apache-2.0
#include "control/admin/access.h"

#include <algorithm>
#include <cerrno>
#include <sys/socket.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

#include "control/system/accounts.h"

namespace vmnat::admin {
namespace {

using control::Error;
using control::Result;

std::vector<gid_t> groups_of(int connection, gid_t effective) {
  std::vector<gid_t> groups(64);
  auto bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
  int failed = ::getsockopt(connection, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes);
  if (failed != 0 && errno == ERANGE) {  // `bytes` is now what there is
    groups.resize(bytes / sizeof(gid_t));
    failed = ::getsockopt(connection, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes);
  }
  groups.resize(failed == 0 ? bytes / sizeof(gid_t) : 0);
  groups.push_back(effective);
  return groups;
}

mode_t socket_mode(const AccessRules& rules) {
  if (!rules.admins.empty()) return 0666;  // which of them are in the group, if there is one, cannot be known
  return rules.group ? 0660 : 0600;
}

}  // namespace

Result<AccessRules> access_rules(const std::string& group, const std::vector<std::string>& admins) {
  AccessRules rules;
  if (!group.empty()) {
    rules.group = control::group_id(group);
    if (!rules.group)
      return tl::unexpected(Error{"control.group", "this machine has no group '" + group + "'"});
  }
  for (const std::string& admin : admins) {
    const auto user = control::user_id(admin);
    if (!user) return tl::unexpected(Error{"control.admins", "this machine has no user '" + admin + "'"});
    rules.admins.push_back(*user);
  }
  return rules;
}

std::optional<Peer> peer_of(int connection) {
  ::ucred credentials{};
  socklen_t bytes = sizeof credentials;
  if (::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0) return std::nullopt;
  return Peer{credentials.uid, groups_of(connection, credentials.gid)};
}

Access access_of(const Peer& peer, const AccessRules& rules) {
  if (peer.user == 0 || peer.user == ::geteuid()) return Access::Change;
  if (std::ranges::find(rules.admins, peer.user) != rules.admins.end()) return Access::Change;
  const bool is_member = rules.group && std::ranges::find(peer.groups, *rules.group) != peer.groups.end();
  return is_member ? Access::Look : Access::None;
}

// In a directory that is setgid the socket is its group's at first: that of the VMMs.
Result<void> restrict_socket(const std::string& path, const AccessRules& rules) {
  constexpr auto kSameUser = static_cast<uid_t>(-1);
  if (::chown(path.c_str(), kSameUser, rules.group.value_or(::getegid())) != 0)
    return tl::unexpected(Error{path,
                                "cannot be given to control.group, which vmnatd's own user has to be a "
                                "member of: " +
                                    std::generic_category().message(errno)});
  if (::chmod(path.c_str(), socket_mode(rules)) != 0)
    return tl::unexpected(Error{path, "its mode cannot be set: " + std::generic_category().message(errno)});
  return {};
}

}  // namespace vmnat::admin
