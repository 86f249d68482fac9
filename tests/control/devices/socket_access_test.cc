// SPDX-License-Identifier: Apache-2.0
// Rights of sockets and their directories, in files of the test's own. Groups are numbers that nobody has.
#include "control/devices/socket_access.h"

#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/system/file_descriptor.h"
#include "control/system/unix_socket.h"
#include "tests/support/temp_dir.h"

namespace vmnat::control {
namespace {

namespace fs = std::filesystem;

constexpr gid_t kGroup = 54321;
constexpr uid_t kStranger = 54322;

struct stat status_of(const std::string& path) {
  struct stat status {};
  EXPECT_EQ(lstat(path.c_str(), &status), 0) << path;
  return status;
}
unsigned mode_of(const std::string& path) {
  return status_of(path).st_mode & 07777;
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  return address;
}
FileDescriptor listener_at(const std::string& path) {
  FileDescriptor listener{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const sockaddr_un address = address_of(path);
  EXPECT_EQ(bind(listener.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(listen(listener.number(), 1), 0);
  return listener;
}

class SocketAccess : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "only root gives files to others";
    chmod(dir_.operator/("").c_str(), 0755);
  }
  [[nodiscard]] config::VhostUser wanted(unsigned mode = 0770) const {
    return {.directory = dir_ / "run", .owner = "root", .group = std::to_string(kGroup), .mode = {mode}};
  }
  TempDir dir_;
};

TEST_F(SocketAccess, TheDirectoryIsMadeWithItsRightsAndNobodyReplacesAnothersFile) {
  ASSERT_TRUE(make_socket_directory("port vm1", dir_ / "run/lab/vm1.sock", wanted()));
  for (const std::string& directory : {dir_ / "run", dir_ / "run/lab"}) {
    EXPECT_EQ(mode_of(directory), 03770u) << directory;
    EXPECT_EQ(status_of(directory).st_gid, kGroup) << directory;
    EXPECT_EQ(status_of(directory).st_uid, 0u) << directory;
  }
}

TEST_F(SocketAccess, ADirectoryThatOnlyItsOwnerWritesToNeedsNoStickyBit) {
  ASSERT_TRUE(make_socket_directory("port vm1", dir_ / "run/vm1.sock", wanted(0750)));
  EXPECT_EQ(mode_of(dir_ / "run"), 0750u);
}

TEST_F(SocketAccess, DirectoriesElsewhereAreMadeAndOtherwiseLeftAlone) {
  fs::create_directory(dir_ / "running");
  chmod((dir_ / "running").c_str(), 0700);
  ASSERT_TRUE(make_socket_directory("port vm1", dir_ / "running/vm1.sock", wanted()));
  ASSERT_TRUE(make_socket_directory("port vm2", dir_ / "new/vm2.sock", wanted()));
  EXPECT_EQ(mode_of(dir_ / "running"), 0700u);
  EXPECT_EQ(status_of(dir_ / "new").st_gid, 0u);
}

TEST_F(SocketAccess, ADirectoryOfSomebodyElsesIsLeftAlone) {
  fs::create_directory(dir_ / "run");
  ASSERT_EQ(chown((dir_ / "run").c_str(), kStranger, 0), 0);
  ASSERT_TRUE(make_socket_directory("port vm1", dir_ / "run/vm1.sock", wanted()));
  EXPECT_EQ(status_of(dir_ / "run").st_uid, kStranger);
  EXPECT_EQ(status_of(dir_ / "run").st_gid, 0u);
}

TEST_F(SocketAccess, NeitherADirectoryNorASocketIsReachedByASymbolicLink) {
  fs::create_directory(dir_ / "other");
  chmod((dir_ / "other").c_str(), 0700);
  fs::create_directory_symlink(dir_ / "other", dir_ / "run");
  ASSERT_TRUE(make_socket_directory("port vm1", dir_ / "run/vm1.sock", wanted()));
  EXPECT_EQ(mode_of(dir_ / "other"), 0700u);

  const FileDescriptor listener = listener_at(dir_ / "real.sock");
  chmod((dir_ / "real.sock").c_str(), 0700);
  fs::create_symlink(dir_ / "real.sock", dir_ / "vm1.sock");
  grant_socket("port vm1", dir_ / "vm1.sock",
               {.owner = "root", .group = "54321", .mode = config::FileMode{0770}});
  EXPECT_EQ(mode_of(dir_ / "real.sock"), 0700u);
  EXPECT_EQ(status_of(dir_ / "real.sock").st_gid, 0u);
}

TEST_F(SocketAccess, ASocketHasTheModeWithoutTheBitsForSearching) {
  const FileDescriptor listener = listener_at(dir_ / "vm1.sock");
  grant_socket("port vm1", dir_ / "vm1.sock",
               {.owner = std::to_string(kStranger), .group = "54321", .mode = config::FileMode{0770}});
  EXPECT_EQ(mode_of(dir_ / "vm1.sock"), 0660u);
  EXPECT_EQ(status_of(dir_ / "vm1.sock").st_gid, kGroup);
  EXPECT_EQ(status_of(dir_ / "vm1.sock").st_uid, kStranger);
}

TEST_F(SocketAccess, AGroupThatIsNotThereIsRoots) {
  const FileDescriptor listener = listener_at(dir_ / "vm1.sock");
  grant_socket("port vm1", dir_ / "vm1.sock",
               {.owner = "no-such-user", .group = "no-such-group", .mode = config::FileMode{0770}});
  EXPECT_EQ(status_of(dir_ / "vm1.sock").st_gid, 0u);
  EXPECT_EQ(status_of(dir_ / "vm1.sock").st_uid, 0u);
  EXPECT_EQ(mode_of(dir_ / "vm1.sock"), 0660u);
}

TEST_F(SocketAccess, WhatAGroupCannotReachIsNamed) {
  const std::string group = std::to_string(kGroup), socket = dir_ / "run/vm1.sock";
  const auto obstacle = [&](config::VhostMode mode) { return obstacle_for_vmm(socket, mode, group); };
  fs::create_directory(dir_ / "run");
  EXPECT_EQ(obstacle(config::VhostMode::Server), "");
  EXPECT_EQ(obstacle(config::VhostMode::Client), "group 54321 may not write to " + dir_ / "run");
  ASSERT_TRUE(make_socket_directory("port vm1", socket, wanted()));
  EXPECT_EQ(obstacle(config::VhostMode::Client), "");
  chmod((dir_ / "run").c_str(), 0700);
  EXPECT_EQ(obstacle(config::VhostMode::Server), "group 54321 may not search " + dir_ / "run");
  EXPECT_EQ(obstacle_for_vmm(socket, config::VhostMode::Client, "no-such-group"), "")
      << "then VMMs are root's";
}

TEST_F(SocketAccess, AnAdminSocketOfAnotherUserIsNeitherKeptNorBelieved) {
  const std::string path = dir_ / "vmnat.sock";
  const FileDescriptor own = listener_at(path);
  remove_foreign_socket(path);
  ASSERT_TRUE(fs::exists(path)) << "ours stays";
  const FileDescriptor connection{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const sockaddr_un address = address_of(path);
  ASSERT_EQ(connect(connection.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(distrust_of_listener(connection.number(), path), "") << "root's";
  ASSERT_EQ(lchown(path.c_str(), kStranger, 0), 0);
  remove_foreign_socket(path);
  EXPECT_FALSE(fs::exists(path));
  std::ofstream(path) << "a file";
  ASSERT_EQ(lchown(path.c_str(), kStranger, 0), 0);
  remove_foreign_socket(path);
  EXPECT_TRUE(fs::exists(path)) << "what is no socket is not removed";
}

}  // namespace
}  // namespace vmnat::control
