// SPDX-License-Identifier: Apache-2.0
#include "control/devices/socket_access.h"

#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

#include "control/system/accounts.h"
#include "control/system/file_descriptor.h"
#include "control/system/unix_socket.h"

namespace vmnat::control {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kAllBits = 07777;
struct Rights {
  uid_t owner;
  gid_t group;
  mode_t mode;
};

// A name that is not known here is root's. The default's absence is no surprise: no VMM of libvirt's is here either.
Rights rights_of(const std::string& subject, const config::SocketAccess& access) {
  const auto owner = user_id(access.owner);
  const auto group = group_id(access.group);
  if (!owner) spdlog::warn("{}: there is no user {}: its socket is root's", subject, access.owner);
  if (!group && access.group != config::VhostUser{}.group)
    spdlog::warn("{}: there is no group {}: its socket is root's", subject, access.group);
  return {owner.value_or(0), group.value_or(0), access.mode.value_or(config::FileMode{}).bits};
}

// To a file that is open, if only for its place (O_PATH): no name is followed. Only root gives a file away.
std::error_code grant(int file, const Rights& rights) {
  const auto failure = [] { return std::error_code{errno, std::generic_category()}; };
  struct stat status {};
  if (fstat(file, &status) != 0) return failure();
  const uid_t owner = geteuid() == 0 ? rights.owner : status.st_uid;
  if ((status.st_uid != owner || status.st_gid != rights.group) &&
      fchownat(file, "", owner, rights.group, AT_EMPTY_PATH) != 0)
    return failure();
  if ((status.st_mode & kAllBits) != rights.mode &&
      chmod(fmt::format("/proc/self/fd/{}", file).c_str(), rights.mode) != 0)
    return failure();
  return {};
}

FileDescriptor place_of(const std::string& path) {
  return FileDescriptor{open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
}

// One whose owner could do as he likes with what is put in it, or that all may write to.
bool is_somebody_elses(int directory, const Rights& wanted) {
  struct stat status {};
  if (fstat(directory, &status) != 0 || !S_ISDIR(status.st_mode)) return true;
  const bool is_known = status.st_uid == 0 || status.st_uid == geteuid() || status.st_uid == wanted.owner;
  return !is_known || (status.st_mode & S_IWOTH) != 0;
}

// Where others may write, nobody removes another one's file, and what a VMM makes is the directory's group's, whatever
// its own is: vmnatd need not be root to connect to it.
void grant_directory(const std::string& subject, const std::string& directory, Rights rights) {
  if ((rights.mode & (S_IWGRP | S_IWOTH)) != 0) rights.mode |= S_ISVTX | S_ISGID;
  const FileDescriptor place = place_of(directory);
  if (!place.is_open() || is_somebody_elses(place.number(), rights)) {
    spdlog::warn("{}: {} stays as it is: it is no directory of root's or of vmnatd's alone", subject,
                 directory);
    return;
  }
  if (const auto error = grant(place.number(), rights))
    spdlog::warn("{}: {} cannot be given its owner, group and mode: {}", subject, directory, error.message());
}

bool is_within(const fs::path& path, const fs::path& directory) {
  const auto [rest, ignored] = std::mismatch(directory.begin(), directory.end(), path.begin(), path.end());
  return rest == directory.end();
}

bool may_write_to(const fs::path& directory, gid_t group) {
  struct stat status {};
  if (stat(directory.c_str(), &status) != 0) return false;
  return (status.st_mode & (status.st_gid == group ? S_IWGRP : S_IWOTH)) != 0;
}

}  // namespace

Result<void> make_socket_directory(const std::string& subject, const std::string& socket,
                                   const config::VhostUser& wanted) {
  const fs::path parent = fs::absolute(socket).lexically_normal().parent_path();
  std::error_code error;
  fs::create_directories(parent, error);
  if (error)
    return tl::unexpected(
        Error{subject, fmt::format("cannot create the directory of {}: {}", socket, error.message())});
  const fs::path top = (fs::path(wanted.directory) / "").lexically_normal().parent_path();
  if (!is_within(parent, top)) return {};
  const Rights rights =
      rights_of(subject, {.owner = wanted.owner, .group = wanted.group, .mode = wanted.mode});
  fs::path directory = top;
  grant_directory(subject, directory, rights);
  for (const fs::path& part : parent.lexically_relative(top))
    if (part != ".") grant_directory(subject, directory /= part, rights);
  return {};
}

void grant_socket(const std::string& subject, const std::string& socket, const config::SocketAccess& access) {
  Rights rights = rights_of(subject, access);
  rights.mode &= S_IRUSR | S_IWUSR | S_IRGRP | S_IWGRP | S_IROTH | S_IWOTH;
  const FileDescriptor place = place_of(socket);
  struct stat status {};
  const bool is_ours = place.is_open() && fstat(place.number(), &status) == 0 && S_ISSOCK(status.st_mode) &&
                       status.st_uid == geteuid();
  if (!is_ours)
    return spdlog::error("{}: {} is not the socket that vmnatd has made: somebody has replaced it", subject,
                         socket);
  if (const auto error = grant(place.number(), rights))
    spdlog::warn("{}: {} cannot be given its owner, group and mode: {}", subject, socket, error.message());
}

std::string obstacle_for_vmm(const std::string& socket, config::VhostMode mode,
                             const std::string& group_name) {
  const gid_t group = group_id(group_name).value_or(0);
  if (group == 0) return {};
  if (const auto closed = closed_directory(socket, group))
    return fmt::format("group {} may not search {}", group_name, *closed);
  const fs::path parent = fs::absolute(socket).lexically_normal().parent_path();
  if (mode == config::VhostMode::Client && !may_write_to(parent, group))
    return fmt::format("group {} may not write to {}", group_name, parent.string());
  return {};
}

}  // namespace vmnat::control
