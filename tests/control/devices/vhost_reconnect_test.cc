// SPDX-License-Identifier: Apache-2.0
// Sockets' files that come, go and are made anew, and a thread whose sleep ends.
#include "control/devices/vhost_reconnect.h"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace vmnat::control {
namespace {

using namespace std::chrono_literals;

class Listener : public testing::Test {
 protected:
  // Makes the socket's file, in place of the one that is there.
  void bind_anew() {
    std::filesystem::remove(path_);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
    ASSERT_EQ(bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    close(socket);
  }
  void TearDown() override { std::filesystem::remove(path_); }

  // As where the directory cannot be watched.
  bool has_come(SteadyTime now) { return file_.has_come(now, std::nullopt); }

  const std::string path_ = testing::TempDir() + "vmnat-listener-" + std::to_string(getpid());
  const SteadyTime start_{};
  SocketFile file_{path_};
};

TEST_F(Listener, HasComeForHalfASecondFromWhenItsFileIsThere) {
  EXPECT_FALSE(has_come(start_));
  bind_anew();
  EXPECT_TRUE(has_come(start_ + 50ms));
  EXPECT_TRUE(has_come(start_ + 549ms));
  EXPECT_FALSE(has_come(start_ + 550ms)) << "that it stays is no news";
}

TEST_F(Listener, HasComeWhenAnotherFileHasItsName) {
  bind_anew();
  EXPECT_TRUE(has_come(start_));
  EXPECT_FALSE(has_come(start_ + 1s));
  bind_anew();
  EXPECT_TRUE(has_come(start_ + 2s));
}

TEST_F(Listener, IsLookedAtAgainOnlyWhenItsDirectoryHasAnotherVersion) {
  EXPECT_FALSE(file_.has_come(start_, 1));
  bind_anew();
  EXPECT_FALSE(file_.has_come(start_ + 1s, 1)) << "it was looked at";
  EXPECT_FALSE(file_.has_changed());
  EXPECT_TRUE(file_.has_come(start_ + 2s, 2));
  EXPECT_TRUE(file_.has_changed());
  EXPECT_TRUE(file_.has_come(start_ + 2499ms, 2));
  EXPECT_FALSE(file_.has_changed()) << "the news is told once";
  EXPECT_FALSE(file_.has_come(start_ + 2500ms, 2));
}

TEST_F(Listener, IsLookedAtEachTimeWhileItIsALinkToElsewhere) {
  std::filesystem::create_symlink(path_ + ".elsewhere", path_);
  EXPECT_FALSE(file_.has_come(start_, 1));
  std::filesystem::rename(path_, path_ + ".link");
  bind_anew();
  std::filesystem::rename(path_, path_ + ".elsewhere");
  std::filesystem::rename(path_ + ".link", path_);
  EXPECT_TRUE(file_.has_come(start_ + 1s, 1));
  std::filesystem::remove(path_ + ".elsewhere");
}

TEST_F(Listener, NamesTheDirectoryThatItIsIn) {
  EXPECT_EQ(SocketFile("/run/vmnat/vm1.sock").directory(), "/run/vmnat");
  EXPECT_EQ(SocketFile("vm1.sock").directory(), ".");
}

TEST_F(Listener, SaysWhyNobodyCouldConnect) {
  EXPECT_EQ(file_.fault(), "") << "nothing is there yet";
  bind_anew();
  EXPECT_EQ(file_.fault(), "");
  std::filesystem::remove(path_);
  std::ofstream(path_) << "text";
  EXPECT_EQ(file_.fault(), "it is no socket");
}

TEST_F(Listener, IsNoFileOfAnotherKindAndNoneThatIsGone) {
  std::ofstream(path_) << "text";
  EXPECT_FALSE(has_come(start_));
  bind_anew();
  EXPECT_TRUE(has_come(start_ + 1s));
  std::filesystem::remove(path_);
  EXPECT_FALSE(has_come(start_ + 1001ms));
}

class VhostThreadsTest : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Both, VhostThreadsTest, testing::Values("vhost_reconn", "vhost-events"),
                         [](const auto& instance) { return instance.index == 0 ? "Connects" : "Reads"; });

TEST_P(VhostThreadsTest, AreWokenFromTheirSleepWithoutHarm) {
  VhostThreads threads;
  EXPECT_FALSE(threads.wake()) << "there is none yet";
  std::atomic<bool> sleeps = false, may_end = false;
  unsigned left = 0;
  std::thread thread([&] {
    pthread_setname_np(pthread_self(), GetParam());
    sleeps = true;
    left = sleep(3600);  // as librte_vhost does
    sleeps = false;
    while (!may_end) std::this_thread::yield();  // it is there for each signal
  });
  while (!sleeps) std::this_thread::yield();
  while (sleeps) {  // a signal before the sleep ends none
    EXPECT_TRUE(threads.wake());
    std::this_thread::yield();
  }
  may_end = true;
  thread.join();
  EXPECT_GT(left, 0u);
}

}  // namespace
}  // namespace vmnat::control
