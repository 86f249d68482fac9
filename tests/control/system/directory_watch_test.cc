// SPDX-License-Identifier: Apache-2.0
// Directories whose files come, go and are renamed; that are missing, replaced, or cannot be watched.
#include "control/system/directory_watch.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

namespace vmnat::control {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

class DirectoryWatchTest : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(home_); }
  void TearDown() override { fs::remove_all(home_); }

  void write(const fs::path& name) { std::ofstream(home_ / name) << "text"; }
  // Whether the version is another one than at the last call; and there is one.
  bool has_changed(const fs::path& name = "sockets", std::chrono::milliseconds later = 1ms) {
    watch_.follow(now_ += later);
    const auto version = watch_.version_of((home_ / name).string());
    EXPECT_TRUE(version) << name;
    return std::exchange(seen_[name], version) != version;
  }

  const fs::path home_ = fs::path(testing::TempDir()) / ("vmnat-directories-" + std::to_string(getpid()));
  DirectoryWatch watch_;
  SteadyTime now_{};
  std::map<fs::path, std::optional<DirectoryWatch::Version>> seen_;
};

TEST_F(DirectoryWatchTest, HasOneVersionUntilAFileComesGoesIsRenamedOrMadeAccessible) {
  fs::create_directory(home_ / "sockets");
  has_changed();
  EXPECT_FALSE(has_changed());
  EXPECT_FALSE(has_changed("sockets", 5s));
  write("sockets/vm1");
  EXPECT_TRUE(has_changed());
  EXPECT_FALSE(has_changed());
  fs::permissions(home_ / "sockets/vm1", fs::perms::owner_read);
  EXPECT_TRUE(has_changed());
  write("vm2");
  EXPECT_FALSE(has_changed()) << "of another directory";
  fs::rename(home_ / "vm2", home_ / "sockets/vm1");
  EXPECT_TRUE(has_changed()) << "renamed into place";
  fs::remove(home_ / "sockets/vm1");
  EXPECT_TRUE(has_changed());
  EXPECT_FALSE(has_changed());
}

TEST_F(DirectoryWatchTest, ThatIsMissingIsToldWhenItComesHoweverDeep) {
  has_changed("a/b/sockets");
  EXPECT_FALSE(has_changed("a/b/sockets"));
  write("unrelated");
  has_changed("a/b/sockets");
  EXPECT_FALSE(has_changed("a/b/sockets"));
  fs::create_directory(home_ / "a");
  EXPECT_TRUE(has_changed("a/b/sockets"));
  fs::create_directories(home_ / "a/b/sockets");
  write("a/b/sockets/vm1");
  EXPECT_TRUE(has_changed("a/b/sockets"));
  EXPECT_FALSE(has_changed("a/b/sockets"));
  write("a/b/sockets/vm2");
  EXPECT_TRUE(has_changed("a/b/sockets")) << "its own files are watched by now";
}

TEST_F(DirectoryWatchTest, ThatIsReplacedIsTheNewOne) {
  fs::create_directory(home_ / "sockets");
  has_changed();
  for (const bool is_renamed : {false, true}) {
    if (is_renamed)
      fs::rename(home_ / "sockets", home_ / "former");
    else
      fs::remove_all(home_ / "sockets");
    EXPECT_TRUE(has_changed());
    fs::create_directory(home_ / "sockets");
    EXPECT_TRUE(has_changed());
    write("sockets/vm1");
    EXPECT_TRUE(has_changed());
    EXPECT_FALSE(has_changed());
  }
}

TEST_F(DirectoryWatchTest, ThatLiesInAReplacedOneIsFoundWithinASecond) {
  fs::create_directories(home_ / "run/sockets");
  has_changed("run/sockets");
  fs::rename(home_ / "run", home_ / "former");
  fs::create_directories(home_ / "run/sockets");
  write("run/sockets/vm1");
  EXPECT_TRUE(has_changed("run/sockets", 1s));
  EXPECT_FALSE(has_changed("run/sockets"));
  write("run/sockets/vm2");
  EXPECT_TRUE(has_changed("run/sockets"));
}

TEST_F(DirectoryWatchTest, SeveralAreApartAlsoIfOneIsAboveAnotherOrALinkToIt) {
  fs::create_directory(home_ / "sockets");
  fs::create_directory_symlink("sockets", home_ / "link");
  const std::vector<fs::path> all{"sockets", "link", "missing", "other"};
  fs::create_directory(home_ / "other");
  for (const fs::path& name : all) has_changed(name);
  for (const fs::path& name : all) EXPECT_FALSE(has_changed(name)) << name;
  write("sockets/vm1");
  EXPECT_TRUE(has_changed("sockets"));
  EXPECT_TRUE(has_changed("link"));
  EXPECT_FALSE(has_changed("missing"));
  EXPECT_FALSE(has_changed("other"));
  fs::create_directory(home_ / "missing");
  EXPECT_TRUE(has_changed("missing"));
  write("missing/vm1");
  EXPECT_TRUE(has_changed("missing"));
}

TEST_F(DirectoryWatchTest, ThatNobodyAsksForIsForgottenAndBeginsAnew) {
  fs::create_directory(home_ / "sockets");
  has_changed();
  watch_.follow(now_ += 11s);
  write("sockets/vm1");
  watch_.follow(now_ += 1ms);
  ASSERT_TRUE(watch_.version_of((home_ / "sockets").string()));
  has_changed();
  write("sockets/vm2");
  EXPECT_TRUE(has_changed());
}

TEST_F(DirectoryWatchTest, MoreThanTheKernelCanTellIsAChangeOfAll) {
  fs::create_directory(home_ / "sockets");
  fs::create_directory(home_ / "other");
  has_changed();
  has_changed("other");
  for (unsigned i = 0; i < 20'000; ++i) {  // max_queued_events is 16384
    write("sockets/vm1");
    fs::remove(home_ / "sockets/vm1");
  }
  bool has_other = false;
  for (unsigned round = 0; round < 1000; ++round) has_other |= has_changed("other");
  EXPECT_TRUE(has_other);
}

// The kernel's limits, and rights that are missing: there is no version, so that others look for themselves.
TEST_F(DirectoryWatchTest, CannotTellWithoutADescriptorNorOfAFileThatIsNoDirectory) {
  fs::create_directory(home_ / "sockets");
  write("file");
  watch_.follow(now_);
  EXPECT_FALSE(watch_.version_of((home_ / "file").string()));
  EXPECT_FALSE(watch_.version_of((home_ / "file/below").string()));

  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const rlimit none{0, limit.rlim_max};
  setrlimit(RLIMIT_NOFILE, &none);
  DirectoryWatch poor;
  setrlimit(RLIMIT_NOFILE, &limit);
  for (const auto at : {0s, 1s, 2s}) {
    poor.follow(now_ + at);
    EXPECT_FALSE(poor.version_of((home_ / "sockets").string()));
    EXPECT_FALSE(poor.version_of((home_ / "missing").string()));
  }
}

}  // namespace
}  // namespace vmnat::control
