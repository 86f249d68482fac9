// SPDX-License-Identifier: Apache-2.0
// KernelLinks, in a network namespace of each test's own, on veth pairs that ip(8) makes. The kernel tells of
// a carrier some time after the cause; tests wait for that by the descriptor, never by sleeping.
#include "control/system/kernel_links.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <gtest/gtest.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <poll.h>
#include <random>
#include <sched.h>
#include <spawn.h>
#include <sstream>
#include <string>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <vector>

#include "control/system/file_descriptor.h"
#include "control/system/link_state.h"

namespace vmnat::control {
namespace {

// 0, or the number of the error.
int set_mtu(const std::string& interface, int mtu) {
  const FileDescriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq query{};
  interface.copy(query.ifr_name, IFNAMSIZ - 1);
  query.ifr_mtu = mtu;
  return ioctl(socket.number(), SIOCSIFMTU, &query) == 0 ? 0 : errno;
}

constexpr auto kPatience = std::chrono::seconds(30);

// Whether ip(8) could do it.
bool ip(const std::string& command) {
  std::istringstream text("ip " + command);
  std::vector<std::string> words;
  for (std::string word; text >> word;) words.push_back(word);
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t child = 0;
  int status = -1;
  if (posix_spawnp(&child, "ip", nullptr, nullptr, arguments.data(), environ) != 0) return false;
  return waitpid(child, &status, 0) == child && status == 0;
}

// By ioctl, which takes microseconds; 0 or the number of the error.
int rename(const std::string& name, const std::string& new_name) {
  const FileDescriptor socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  ifreq query{};
  std::strncpy(query.ifr_name, name.c_str(), IFNAMSIZ - 1);
  std::strncpy(query.ifr_newname, new_name.c_str(), IFNAMSIZ - 1);
  return ioctl(socket.number(), SIOCSIFNAME, &query) == 0 ? 0 : errno;
}

KernelLinks opened() {
  return KernelLinks::open().value();
}

bool has_news(const KernelLinks& links, std::chrono::milliseconds patience = {}) {
  pollfd wanted{links.descriptor(), POLLIN, 0};
  return poll(&wanted, 1, static_cast<int>(patience.count())) == 1;
}

bool eventually(KernelLinks& links, const std::function<bool()>& holds) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    links.follow();
    if (holds()) return true;
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left.count() <= 0) return false;
    has_news(links, std::chrono::duration_cast<std::chrono::milliseconds>(left));
  }
}

KernelLink link_of(const KernelLinks& links, const std::string& name) {
  const KernelLink* found = links.find(name);
  return found == nullptr ? KernelLink{} : *found;
}

int index_of(const std::string& name) {
  return static_cast<int>(if_nametoindex(name.c_str()));
}

// The smallest that the kernel gives: room for one or two messages.
void shrink_buffer(const KernelLinks& links) {
  const int bytes = 1;
  ASSERT_EQ(setsockopt(links.descriptor(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes), 0);
}

// Messages that the kernel had no room for.
std::uint32_t lost_messages(const KernelLinks& links) {
  std::array<std::uint32_t, SK_MEMINFO_VARS> counts{};
  socklen_t size = sizeof counts;
  EXPECT_EQ(getsockopt(links.descriptor(), SOL_SOCKET, SO_MEMINFO, counts.data(), &size), 0);
  return counts[SK_MEMINFO_DROPS];
}

// A namespace that lives as long as its descriptor.
FileDescriptor other_namespace() {
  int number = -1;
  std::thread([&] {
    if (unshare(CLONE_NEWNET) == 0) number = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  }).join();
  return FileDescriptor{number};
}

std::string path_of(const FileDescriptor& file) {
  return "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(file.number());
}

class FollowedLinks : public testing::Test {
 protected:
  void SetUp() override {
    if (unshare(CLONE_NEWNET) != 0)
      GTEST_SKIP() << "no network namespace of our own: " << std::generic_category().message(errno);
    if (!ip("link add v0 address 02:00:00:00:00:01 type veth peer name v1"))
      GTEST_SKIP() << "ip(8) makes no veth pair here";
  }
};

TEST_F(FollowedLinks, AreAllThereAtTheStart) {
  const KernelLinks links = opened();
  const KernelLink v0 = link_of(links, "v0");
  EXPECT_EQ(v0, (KernelLink{.index = index_of("v0"),
                            .name = "v0",
                            .mtu = 1500,
                            .mac = {{2, 0, 0, 0, 0, 1}},
                            .kind = "veth",
                            .lower = index_of("v1")}));
  EXPECT_EQ(link_of(links, "lo").index, index_of("lo"));
  EXPECT_EQ(link_of(links, "lo").kind, "");
  EXPECT_EQ(links.find("v2"), nullptr);
  EXPECT_EQ(links.find(""), nullptr);
}

TEST_F(FollowedLinks, KnowTheBridgeThatTheyAreAPartOf) {
  KernelLinks links = opened();
  if (!ip("link add b0 type bridge")) GTEST_SKIP() << "ip(8) makes no bridge here";
  ASSERT_TRUE(ip("link set v0 master b0"));
  EXPECT_TRUE(links.follow());
  EXPECT_EQ(link_of(links, "v0").master, index_of("b0"));
  ASSERT_TRUE(ip("link set v0 nomaster"));
  EXPECT_TRUE(links.follow());
  EXPECT_EQ(link_of(links, "v0").master, 0);
}

TEST_F(FollowedLinks, KnowNoOtherEndInAnotherNamespace) {
  const FileDescriptor other = other_namespace();
  ASSERT_TRUE(other.is_open());
  ASSERT_TRUE(ip("link set v1 netns " + path_of(other)));
  EXPECT_EQ(link_of(opened(), "v0").lower, 0);
}

TEST_F(FollowedLinks, ChangeOnlyWhenSomethingIsTold) {
  KernelLinks links = opened();
  while (links.follow()) {
  }
  EXPECT_FALSE(has_news(links));
  EXPECT_FALSE(links.follow());
  ASSERT_EQ(set_mtu("v0", 1400), 0);
  EXPECT_TRUE(has_news(links));
  EXPECT_TRUE(links.follow());
  EXPECT_FALSE(has_news(links));
  EXPECT_FALSE(links.follow());
}

TEST_F(FollowedLinks, AreUpByTheAdministratorAndHaveTheCarrierOfTheirPeer) {
  KernelLinks links = opened();
  const auto is = [&](bool up, bool carrier) {
    return [&links, up, carrier] {
      const KernelLink v0 = link_of(links, "v0");
      return v0.is_up == up && v0.has_carrier == carrier;
    };
  };
  EXPECT_TRUE(is(false, false)());
  ASSERT_TRUE(ip("link set v0 up"));
  EXPECT_TRUE(eventually(links, is(true, false)));
  ASSERT_TRUE(ip("link set v1 up"));
  EXPECT_TRUE(eventually(links, is(true, true)));
  ASSERT_TRUE(ip("link set v1 down"));
  EXPECT_TRUE(eventually(links, is(true, false)));
  ASSERT_TRUE(ip("link set v0 down"));
  EXPECT_TRUE(eventually(links, is(false, false)));
}

TEST_F(FollowedLinks, ChangeTheirMtuAndMac) {
  KernelLinks links = opened();
  const KernelLink before = link_of(links, "v0");
  ASSERT_TRUE(ip("link set v0 mtu 9000 address 02:00:00:00:00:02"));
  EXPECT_TRUE(links.follow());
  KernelLink after = before;
  after.mtu = 9000;
  after.mac = {{2, 0, 0, 0, 0, 2}};
  EXPECT_EQ(link_of(links, "v0"), after);
}

TEST_F(FollowedLinks, EndAndComeAgainUnderAnotherIndex) {
  KernelLinks links = opened();
  const int before = link_of(links, "v0").index;
  ASSERT_TRUE(ip("link del v0"));
  EXPECT_TRUE(links.follow());
  EXPECT_EQ(links.find("v0"), nullptr);
  EXPECT_EQ(links.find("v1"), nullptr);
  ASSERT_TRUE(ip("link add v0 type veth peer name v1"));
  EXPECT_TRUE(links.follow());
  EXPECT_EQ(link_of(links, "v0").index, index_of("v0"));
  EXPECT_NE(link_of(links, "v0").index, before);
}

TEST_F(FollowedLinks, AreMadeAgainBetweenTwoLooks) {
  KernelLinks links = opened();
  ASSERT_TRUE(ip("link del v0"));
  ASSERT_TRUE(ip("link add v0 mtu 1400 type veth peer name v1"));
  EXPECT_TRUE(links.follow());
  EXPECT_EQ(link_of(links, "v0").index, index_of("v0"));
  EXPECT_EQ(link_of(links, "v0").mtu, 1400u);
}

TEST_F(FollowedLinks, KeepTheirIndexWhenRenamed) {
  KernelLinks links = opened();
  const int v0 = link_of(links, "v0").index;
  const int v1 = link_of(links, "v1").index;
  ASSERT_EQ(rename("v0", "v2"), 0);
  EXPECT_TRUE(links.follow());
  EXPECT_EQ(links.find("v0"), nullptr);
  EXPECT_EQ(link_of(links, "v2").index, v0);
  ASSERT_EQ(rename("v1", "v0"), 0);
  ASSERT_EQ(rename("v2", "v1"), 0);
  EXPECT_TRUE(links.follow());
  EXPECT_EQ(links.find("v2"), nullptr);
  EXPECT_EQ(link_of(links, "v1").index, v0);
  EXPECT_EQ(link_of(links, "v0").index, v1);
}

TEST_F(FollowedLinks, EndWhenTheyMoveToAnotherNamespace) {
  KernelLinks links = opened();
  const FileDescriptor other = other_namespace();
  ASSERT_TRUE(ip("link set v0 netns " + path_of(other)));
  EXPECT_TRUE(links.follow());
  EXPECT_EQ(links.find("v0"), nullptr);
  EXPECT_NE(links.find("v1"), nullptr);
}

TEST_F(FollowedLinks, StayWithTheirNamespaceWhenTheThreadMoves) {
  KernelLinks links = opened();
  shrink_buffer(links);
  for (int mtu = 1000; mtu < 1100; ++mtu) ASSERT_EQ(set_mtu("v0", mtu), 0);
  ASSERT_EQ(unshare(CLONE_NEWNET), 0);
  EXPECT_TRUE(links.follow());  // reads all
  EXPECT_EQ(link_of(links, "v0").mtu, 1099u);
  EXPECT_EQ(opened().find("v0"), nullptr);
}

// A bridge says of an interface that leaves it: RTM_DELLINK, in its own family.
TEST_F(FollowedLinks, StayAllTheTimeWhenTheyLeaveABridge) {
  if (!ip("link add br0 type bridge")) GTEST_SKIP() << "ip(8) makes no bridge here";
  KernelLinks links = opened();
  std::atomic<bool> is_done = false;
  std::thread moving([&] {
    for (int i = 0; i < 30; ++i) EXPECT_TRUE(ip("link set v0 master br0") && ip("link set v0 nomaster"));
    is_done = true;
  });
  int absences = 0;
  while (!is_done) {
    links.follow();
    absences += links.find("v0") == nullptr ? 1 : 0;
  }
  moving.join();
  EXPECT_EQ(absences, 0);
  EXPECT_EQ(link_of(links, "br0").kind, "bridge");
}

TEST_F(FollowedLinks, AreReadAnewAfterAnOverrun) {
  KernelLinks links = opened();
  while (links.follow()) {
  }
  shrink_buffer(links);
  for (int mtu = 1000; mtu < 1200; ++mtu) ASSERT_EQ(set_mtu("v0", mtu), 0);
  ASSERT_TRUE(ip("link add v2 type veth peer name v3"));
  ASSERT_EQ(rename("v1", "v9"), 0);
  ASSERT_TRUE(ip("link add w0 type veth peer name w1"));
  ASSERT_TRUE(ip("link del w0"));
  EXPECT_GT(lost_messages(links), 0u);
  EXPECT_TRUE(has_news(links));
  EXPECT_TRUE(links.follow());
  EXPECT_EQ(link_of(links, "v0").mtu, 1199u);
  EXPECT_EQ(link_of(links, "v2").index, index_of("v2"));
  EXPECT_EQ(link_of(links, "v9").index, index_of("v9"));
  EXPECT_EQ(links.find("v1"), nullptr);
  EXPECT_EQ(links.find("w0"), nullptr);

  EXPECT_FALSE(has_news(links));
  ASSERT_EQ(set_mtu("v0", 1300), 0);  // news comes again
  EXPECT_TRUE(links.follow());
  EXPECT_EQ(link_of(links, "v0").mtu, 1300u);
}

// One with a buffer that holds all news, and one that loses most of it, see what a fresh reading sees.
TEST_F(FollowedLinks, AreTheSameAsReadAfreshWhateverHappens) {
  KernelLinks links = opened();
  KernelLinks losing = opened();
  shrink_buffer(losing);
  std::mt19937 random(1);
  const std::vector<std::string> names{"v0", "v1", "v2", "v3", "v4", "v5"};
  const auto change = [&] {
    const std::string& one = names[random() % names.size()];
    const std::string& other = names[random() % names.size()];
    if (index_of(one) == 0) {
      const bool are_free = one != other && index_of(other) == 0;
      EXPECT_TRUE(!are_free || ip("link add " + one + " type veth peer name " + other));
      return;
    }
    switch (random() % 7) {
      case 0:
        EXPECT_TRUE(ip("link del " + one));
        break;
      case 1:
        EXPECT_TRUE(ip("link set " + one + " down"));
        break;
      case 2:
      case 3:
        EXPECT_EQ(set_link_up(one, true), 0);
        break;
      case 4:
      case 5:
        rename(one, other);  // refused if the name is taken
        break;
      default:
        EXPECT_EQ(set_mtu(one, 1000 + static_cast<int>(random() % 500)), 0);
    }
  };
  const auto are_as_read = [&] {
    links.follow();
    losing.follow();
    const KernelLinks fresh = opened();
    return std::all_of(names.begin(), names.end(), [&](const std::string& name) {
      return link_of(links, name) == link_of(fresh, name) && link_of(losing, name) == link_of(fresh, name);
    });
  };
  for (int round = 0; round < 30; ++round) {
    for (int i = 0; i < 8; ++i) change();
    ASSERT_TRUE(eventually(links, are_as_read)) << "in round " << round;  // the kernel tells of carriers late
  }
  EXPECT_GT(lost_messages(losing), 0u);
  EXPECT_EQ(lost_messages(links), 0u);
}

// So many that the kernel's answer comes in parts, while others come and go between them.
TEST_F(FollowedLinks, AreNeverReadByHalves) {
  constexpr int kPairs = 40;
  const auto name = [](const char* start, int i) { return start + std::to_string(i); };
  for (int i = 0; i < kPairs; ++i)
    ASSERT_TRUE(ip("link add " + name("a", i) + " type veth peer name " + name("b", i)));
  std::atomic<bool> is_done = false;
  std::thread coming_and_going([&] {
    for (int i = 0; i < 60; ++i) EXPECT_TRUE(ip("link add v2 type veth peer name v3") && ip("link del v2"));
    is_done = true;
  });
  const auto are_all_there = [&](const KernelLinks& links) {
    for (int i = 0; i < kPairs; ++i)
      if (links.find(name("a", i)) == nullptr || links.find(name("b", i)) == nullptr) return false;
    return true;
  };
  int halves = 0;
  while (!is_done) {
    const auto links = KernelLinks::open();  // may fail, if they change too fast
    halves += links && !are_all_there(*links) ? 1 : 0;
  }
  coming_and_going.join();
  EXPECT_EQ(halves, 0);
}

TEST_F(FollowedLinks, CannotBeFollowedWithoutADescriptor) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{0, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto links = KernelLinks::open();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_FALSE(links);
  EXPECT_EQ(to_string(links.error()),
            "rtnetlink: the kernel's network interfaces cannot be followed: Too many open files");
}

}  // namespace
}  // namespace vmnat::control
