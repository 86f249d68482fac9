// SPDX-License-Identifier: Apache-2.0
// Children of the test: sh(1) says what it is. That one dies with a parent that is killed: tests/e2e/dns.py.
#include "control/system/child_process.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <gtest/gtest.h>
#include <poll.h>
#include <string>
#include <unistd.h>

namespace vmnat::control {
namespace {

constexpr int kPatience = 30'000;  // ms

std::string all_output(const ChildProcess& child) {
  std::string text;
  char part[256];
  for (ssize_t bytes; (bytes = read(child.output(), part, sizeof part)) > 0;)
    text.append(part, static_cast<std::size_t>(bytes));
  return text;
}

bool has_ended(const ChildProcess& child) {
  pollfd end{.fd = child.descriptor(), .events = POLLIN, .revents = 0};
  return poll(&end, 1, kPatience) == 1;
}

Result<ChildProcess> shell(const std::string& script) {
  return ChildProcess::start({"sh", "-c", script}, "nobody");
}

TEST(ChildProcess, ItsOutputAndItsEndAreTold) {
  auto child = shell("echo out; echo err >&2; exit 3");
  ASSERT_TRUE(child) << to_string(child.error());
  EXPECT_EQ(all_output(*child), "out\nerr\n");
  ASSERT_TRUE(has_ended(*child));
  EXPECT_EQ(child->take_end(), "exit code 3");
}

TEST(ChildProcess, ASignalIsTold) {
  auto child = shell("kill -TERM $$");
  ASSERT_TRUE(child);
  ASSERT_TRUE(has_ended(*child));
  EXPECT_EQ(child->take_end(), "signal 15");
}

TEST(ChildProcess, EndsWithItsOwner) {
  pid_t number = 0;
  {
    auto child = shell("echo $$; exec sleep 1000");
    ASSERT_TRUE(child);
    char text[32] = {};
    ASSERT_GT(read(child->output(), text, sizeof text - 1), 0);
    number = std::atoi(text);
    ASSERT_EQ(kill(number, 0), 0);
  }
  EXPECT_EQ(kill(number, 0), -1) << "it was killed and waited for";
}

TEST(ChildProcess, HasNoDescriptorOfOursAndNoSignalThatWeIgnore) {
  std::signal(SIGPIPE, SIG_IGN);
  auto child = shell("ls /proc/self/fd | wc -l; grep SigIgn /proc/self/status");
  std::signal(SIGPIPE, SIG_DFL);
  ASSERT_TRUE(child);
  unsigned descriptors = 0;
  unsigned long long ignored = 0;
  ASSERT_EQ(std::sscanf(all_output(*child).c_str(), "%u SigIgn: %llx", &descriptors, &ignored), 2);
  EXPECT_EQ(descriptors, 4u) << "0, 1, 2 and that of the directory";
  EXPECT_EQ(ignored >> (SIGPIPE - 1) & 1, 0u);
}

TEST(ChildProcess, OfRootIsAnotherUserThatMayBindALowPortAndNothingElse) {
  if (geteuid() != 0) GTEST_SKIP() << "not root";
  auto child = shell("id -u; grep -E 'Cap(Eff|Bnd)|NoNewPrivs' /proc/self/status");
  ASSERT_TRUE(child);
  EXPECT_EQ(all_output(*child),
            "65534\nCapEff:\t0000000000000400\nCapBnd:\t0000000000000400\nNoNewPrivs:\t1\n");
}

TEST(ChildProcess, AProgramIsFoundInPathOrNot) {
  EXPECT_TRUE(has_program("sh"));
  EXPECT_FALSE(has_program("no-such-program"));
}

}  // namespace
}  // namespace vmnat::control
