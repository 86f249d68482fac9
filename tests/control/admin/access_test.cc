// SPDX-License-Identifier: Apache-2.0
// Who may do what, as a table, and at a socket with clients that are other users: each in a thread of its own, whose
// rights alone are changed.
#include "control/admin/access.h"

#include <functional>
#include <gmock/gmock.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

#include "control/admin/client.h"
#include "tests/support/admin_fixture.h"

namespace vmnat::admin {
namespace {

using namespace std::chrono_literals;
using testing::Contains;
using testing::HasSubstr;

constexpr uid_t kAlice = 64001, kBob = 64002;
constexpr gid_t kOperators = 64010, kOthers = 64011;

TEST(Access, IsToChangeForRootOwnUserAndAdminsToLookForTheGroupElseNone) {
  struct Row {
    const char* says;
    Peer peer;
    AccessRules rules;
    Access access;
  };
  const Row rows[] = {
      {"root", {0, {0}}, {}, Access::Change},
      {"vmnatd's own user", {geteuid(), {}}, {}, Access::Change},
      {"anybody, by default", {kAlice, {kOperators}}, {}, Access::None},
      {"a member of the group", {kAlice, {kOthers, kOperators}}, {.group = kOperators}, Access::Look},
      {"a member of another group", {kAlice, {kOthers}}, {.group = kOperators}, Access::None},
      {"the group's number as a user", {kOperators, {kOthers}}, {.group = kOperators}, Access::None},
      {"an admin", {kAlice, {kOthers}}, {.admins = {kBob, kAlice}}, Access::Change},
      {"an admin who is in the group", {kAlice, {kOperators}}, {kOperators, {kAlice}}, Access::Change},
      {"no admin, but in the group", {kBob, {kOperators}}, {kOperators, {kAlice}}, Access::Look},
      {"neither", {kBob, {kOthers}}, {kOperators, {kAlice}}, Access::None},
  };
  for (const Row& row : rows) EXPECT_EQ(access_of(row.peer, row.rules), row.access) << row.says;
}

TEST(Access, NamesThatTheMachineDoesNotKnowAreErrors) {
  EXPECT_EQ(to_string(access_rules("no-such-group", {}).error()),
            "control.group: this machine has no group 'no-such-group'");
  EXPECT_EQ(to_string(access_rules("", {"root", "no-such-user"}).error()),
            "control.admins: this machine has no user 'no-such-user'");
  const auto rules = access_rules("root", {"root"});
  ASSERT_TRUE(rules);
  EXPECT_EQ(rules->group, 0u);
  EXPECT_EQ(rules->admins, std::vector<uid_t>{0});
  EXPECT_EQ(access_rules("", {})->group, std::nullopt);
}

TEST(Access, NamesMayBeNumbersThatNobodyHasAsAName) {
  const auto rules = access_rules("64010", {"64001", "root"});
  ASSERT_TRUE(rules);
  EXPECT_EQ(rules->group, kOperators);
  EXPECT_EQ(rules->admins, (std::vector<uid_t>{kAlice, 0}));
  EXPECT_FALSE(access_rules("64010x", {}));
  EXPECT_FALSE(access_rules("", {"-1"}));
}

TEST(Access, AsksTheKernelWhoIsAtTheOtherEnd) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  const auto peer = peer_of(ends[0]);
  ASSERT_TRUE(peer);
  EXPECT_EQ(peer->user, geteuid());
  EXPECT_THAT(peer->groups, Contains(getegid()));
  ::close(ends[0]);
  ::close(ends[1]);
  EXPECT_FALSE(peer_of(-1));
}

struct AccessOfSocket : testing::Test {
  TempDir dir;
  const std::string path = dir / "vmnat.sock";

  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root, to be other users";
    ::chmod((dir / "").c_str(), 0755);
  }
  [[nodiscard]] mode_t mode() const {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 0777 : 0;
  }
  // What the user is told: the answer, or why there is none.
  std::string told(uid_t user, const std::vector<gid_t>& groups, const std::string& command) const {
    std::string text;
    std::thread([&] {
      // The system calls themselves: libc's functions change all threads.
      ::syscall(SYS_setgroups, groups.size(), groups.data());
      ::syscall(SYS_setresgid, kOthers, kOthers, kOthers);
      ::syscall(SYS_setresuid, user, user, user);
      const auto answer =
          call(path, command, Json::object(), [&](Answer::Kind, std::string_view line) { text = line; });
      if (!answer) text = answer.error().what;
    }).join();
    return text;
  }
};

struct ServerWithRules : RunningServer {
  ServerWithRules(const std::string& path, AccessRules rules) : RunningServer(path, {}, std::move(rules)) {
    answer("look", [](const Json&) { return Answer::object("seen"); });
    answer(
        "change", [](const Json&) { return Answer::object("changed"); }, Access::Change);
  }
};

constexpr const char* kNoPermission = "no permission to use ";
constexpr const char* kMayLook =
    "'change' is for root and control.admins; user 64001 may look, and change nothing";
constexpr const char* kIsNone =
    "this socket is for root, control.admins and the members of control.group; user 64001 is none of them";

TEST_F(AccessOfSocket, IsRootsAloneByDefault) {
  const ServerWithRules server(path, {});
  EXPECT_EQ(mode(), 0600u);
  EXPECT_EQ(told(0, {}, "change"), "\"changed\"");
  EXPECT_THAT(told(kAlice, {kOperators}, "look"), HasSubstr(kNoPermission));
}

TEST_F(AccessOfSocket, LetsTheGroupLookAndChangeNothing) {
  const ServerWithRules server(path, {.group = kOperators});
  EXPECT_EQ(mode(), 0660u);
  EXPECT_EQ(told(kAlice, {kOperators}, "look"), "\"seen\"");
  EXPECT_EQ(told(kAlice, {kOperators}, "change"), kMayLook);
  EXPECT_EQ(told(0, {}, "change"), "\"changed\"");
  EXPECT_THAT(told(kAlice, {}, "look"), HasSubstr(kNoPermission));
}

TEST_F(AccessOfSocket, FindsTheGroupAmongManyOfTheUser) {
  const ServerWithRules server(path, {.group = kOperators});
  std::vector<gid_t> groups;
  for (gid_t group = 70000; group < 70200; ++group) groups.push_back(group);
  groups.push_back(kOperators);
  EXPECT_EQ(told(kAlice, groups, "look"), "\"seen\"");
}

TEST_F(AccessOfSocket, LetsAdminsChangeWhoAreInNoGroup) {
  const ServerWithRules server(path, {.group = kOperators, .admins = {kBob}});
  EXPECT_EQ(told(kBob, {}, "change"), "\"changed\"");
  EXPECT_EQ(told(kBob, {}, "look"), "\"seen\"");
  EXPECT_EQ(told(kAlice, {kOperators}, "look"), "\"seen\"");
  EXPECT_EQ(told(kAlice, {kOperators}, "change"), kMayLook);
}

TEST_F(AccessOfSocket, TellsOthersWhoItIsFor) {
  ServerWithRules server(path, {.group = kOperators, .admins = {kBob}});
  for (int i = 0; i < 50; ++i) EXPECT_EQ(told(kAlice, {}, "look"), kIsNone);
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (server.clients() > 0 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  EXPECT_EQ(server.clients(), 0u);
}

TEST_F(AccessOfSocket, NamesTheDirectoryThatKeepsTheGroupOut) {
  const std::string inner = dir / "closed/open/vmnat.sock";
  const std::string closed = dir / "closed";
  ASSERT_EQ(::mkdir(closed.c_str(), 0755), 0);
  ASSERT_EQ(::mkdir((dir / "closed/open").c_str(), 0755), 0);
  EXPECT_EQ(closed_directory(inner, kOperators), std::nullopt);
  ASSERT_EQ(::chmod(closed.c_str(), 0770), 0);
  EXPECT_EQ(closed_directory(inner, kOperators), closed);
  ASSERT_EQ(::chown(closed.c_str(), 0, kOperators), 0);
  EXPECT_EQ(closed_directory(inner, kOperators), std::nullopt);
  ASSERT_EQ(::chmod(closed.c_str(), 0711), 0);
  EXPECT_EQ(closed_directory(inner, kOthers), std::nullopt);
}

TEST_F(AccessOfSocket, CannotBeGivenToAGroupThatItsUserIsNotIn) {
  std::string why;
  std::thread([&] {
    ::syscall(SYS_setgroups, 0, nullptr);
    ::chown((dir / "").c_str(), kAlice, kOthers);
    ::syscall(SYS_setresgid, kOthers, kOthers, kOthers);
    ::syscall(SYS_setresuid, kAlice, kAlice, kAlice);
    boost::asio::io_context context;
    const auto server = Server::listen(context, path, {.group = kOperators});
    if (!server) why = to_string(server.error());
  }).join();
  EXPECT_EQ(why, path +
                     ": cannot be given to control.group, which vmnatd's own user has to be a member of: "
                     "Operation not permitted");
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
}

}  // namespace
}  // namespace vmnat::admin
