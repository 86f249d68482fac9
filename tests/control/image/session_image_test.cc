// SPDX-License-Identifier: Apache-2.0
// The file itself: what is refused, whose it is, which names count, and when it takes effect.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/control/image/image_bed.h"

namespace vmnat::control {
namespace {

SessionNames some_names(const std::string& port = "vm1") {
  return {.ports = {"uplink", port},
          .owners = {0, 1},
          .networks = {"default"},
          .rented = net::Ipv4Addr::of(203, 0, 113, 9)};
}

SessionImage image_in_effect(const std::string& path, unsigned workers = 1) {
  SessionImage image = new_image(path, workers);
  EXPECT_TRUE(image.set_names(some_names()));
  EXPECT_TRUE(image.take_effect());
  return image;
}

// An image that has taken effect and whose process has ended.
std::string left_image(const MemoryDirectory& directory) {
  const std::string path = directory.file("a.sessions");
  image_in_effect(path);
  return path;
}

void overwrite(const std::string& path, std::size_t at, std::string_view bytes) {
  const FileDescriptor file{open(path.c_str(), O_RDWR | O_CLOEXEC)};
  ASSERT_EQ(pwrite(file.number(), bytes.data(), bytes.size(), static_cast<off_t>(at)),
            static_cast<ssize_t>(bytes.size()));
}

std::string refusal(const std::string& path, const Moment& now = moment_at(101)) {
  const auto image = read_image(path, now);
  return image ? "" : image.error().what;
}

TEST(SessionImage, IsReadByTheNextProcess) {
  const MemoryDirectory directory;
  const auto image = read_image(left_image(directory));
  ASSERT_TRUE(image) << to_string(image.error());
  EXPECT_EQ(image->names(), some_names());
  EXPECT_EQ(image->header().capacity, Bed::kCapacity);
  EXPECT_TRUE(image->is_clean());
}

TEST(SessionImage, IsThereOnlyOnceItHasTakenEffect) {
  const MemoryDirectory directory;
  const std::string path = directory.file("a.sessions");
  {
    SessionImage image = new_image(path);
    EXPECT_FALSE(std::filesystem::exists(path));
    EXPECT_TRUE(std::filesystem::exists(path + ".new"));
  }
  EXPECT_FALSE(std::filesystem::exists(path + ".new")) << "a start that failed leaves nothing";
}

TEST(SessionImage, IsItsOwnersAlone) {
  const MemoryDirectory directory;
  struct stat status {};
  ASSERT_EQ(stat(left_image(directory).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777u, 0600u);
}

TEST(SessionImage, TellsAKillFromAStop) {
  const MemoryDirectory directory;
  const std::string path = directory.file("a.sessions");
  SessionImage image = image_in_effect(path);
  EXPECT_FALSE(read_image(path)->is_clean());
}

TEST(SessionImage, IsRefusedInOneSentence) {
  const MemoryDirectory directory;
  const std::string path = left_image(directory);
  Moment other_boot = moment_at(101);
  other_boot.boot_id = "5d6b2a0c-0000-4000-8000-000000000002";
  EXPECT_EQ(refusal(path, other_boot), "is of another boot of this machine");
  EXPECT_EQ(refusal(path, moment_at(99)), "goes by a clock that has jumped since");
  Moment slow = moment_at(1000);
  slow.tsc = 101'000'000'000;  // a second by one clock, 900 by the other
  EXPECT_EQ(refusal(path, slow), "goes by a clock that has jumped since");

  overwrite(path, offsetof(ImageHeader, layout), std::string_view("\x02", 1));
  EXPECT_EQ(refusal(path), "was written by a version with another layout of sessions");
  overwrite(path, 0, "something else");
  EXPECT_EQ(refusal(path), "is no image of sessions");
  std::filesystem::resize_file(path, 40);
  EXPECT_EQ(refusal(path), "is damaged: it has no whole header");
}

TEST(SessionImage, ADamagedHeaderIsSeenWhereverTheDamageIs) {
  const MemoryDirectory directory;
  const std::string path = left_image(directory);
  std::string header(sizeof(ImageHeader), '\0');
  {
    const FileDescriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    ASSERT_EQ(pread(file.number(), header.data(), header.size(), 0), static_cast<ssize_t>(header.size()));
  }
  for (std::size_t at = 0; at < offsetof(ImageHeader, is_clean); ++at) {
    std::string damaged = header;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    overwrite(path, 0, damaged);
    EXPECT_NE(refusal(path), "") << "byte " << at;
  }
}

TEST(SessionImage, NamesAreThoseSetLastOrBeforeThem) {
  const MemoryDirectory directory;
  const std::string path = directory.file("a.sessions");
  SessionImage image = new_image(path);
  for (const char* name : {"first", "second", "third"}) {
    ASSERT_TRUE(image.set_names(some_names(name)));
    if (std::string_view(name) == "first") {
      ASSERT_TRUE(image.take_effect());
    }
    EXPECT_EQ(read_image(path)->names(), some_names(name));
  }
  overwrite(path, kNamesAt + kNamesBytes + sizeof(CopyHeader), "?");  // the kill came while it was written
  EXPECT_EQ(read_image(path)->names(), some_names("second"));
  overwrite(path, kNamesAt + sizeof(CopyHeader), "?");
  EXPECT_EQ(refusal(path), "is damaged: its names cannot be read");
}

TEST(SessionImage, TooManyNamesLeaveThoseBefore) {
  const MemoryDirectory directory;
  const std::string path = directory.file("a.sessions");
  SessionImage image = image_in_effect(path);
  EXPECT_FALSE(image.set_names(some_names(std::string(kNamesBytes, 'x'))));
  EXPECT_EQ(read_image(path)->names(), some_names());
}

std::string fault_of_totals(const std::string& path) {
  const auto totals = read_image(path)->totals();
  return totals ? "" : totals.error().what;
}

TEST(SessionImage, TotalsAreThoseSetLastOrBeforeThem) {
  const MemoryDirectory directory;
  const std::string path = directory.file("a.sessions");
  SessionImage image = image_in_effect(path, 2);
  EXPECT_EQ(fault_of_totals(path), "the version before has kept none");
  for (const std::uint64_t received : {1u, 2u, 3u}) {
    ASSERT_TRUE(image.set_totals(some_totals(received)));
    EXPECT_EQ(read_image(path)->totals(), some_totals(received));
  }
  const std::size_t at = totals_at(2, Bed::kCapacity);
  overwrite(path, at + kTotalsBytes + sizeof(CopyHeader), "?");  // the kill came while it was written
  EXPECT_EQ(read_image(path)->totals(), some_totals(2));
  overwrite(path, at + sizeof(CopyHeader), "?");
  EXPECT_EQ(fault_of_totals(path), "what was kept of them is damaged");
  EXPECT_EQ(refusal(path), "") << "names and sessions are whole";
}

TEST(SessionImage, OneOfAVersionWithoutTotalsIsWhole) {
  const MemoryDirectory directory;
  const std::string path = left_image(directory);
  std::filesystem::resize_file(path, totals_at(1, Bed::kCapacity));
  EXPECT_EQ(refusal(path), "");
  EXPECT_EQ(fault_of_totals(path), "the version before has kept none");
}

TEST(SessionImage, TooManyTotalsLeaveThoseBefore) {
  const MemoryDirectory directory;
  const std::string path = directory.file("a.sessions");
  SessionImage image = image_in_effect(path);
  ASSERT_TRUE(image.set_totals(some_totals()));
  Totals more = some_totals();
  more.counters.emplace(std::string(kTotalsBytes, 'x'), 1);
  EXPECT_FALSE(image.set_totals(more));
  EXPECT_EQ(read_image(path)->totals(), some_totals());
}

TEST(SessionImage, TimeGoesOn) {
  const MemoryDirectory directory;
  const std::string path = left_image(directory);  // its clock was 0 at 0
  EXPECT_EQ(read_image(path)->start_tsc(moment_at(101)), 0u);
  Moment faster = moment_at(101);
  faster.tsc_hz = 1'010'000'000;  // another measurement: 101 s have passed still
  EXPECT_EQ((faster.tsc - read_image(path)->start_tsc(faster)) / faster.tsc_hz, 101u);
}

TEST(SessionImage, TwoProcessesNeverShareOne) {
  const MemoryDirectory directory;
  const std::string path = directory.file("a.sessions");
  EXPECT_EQ(lock_existing(path).found, Found::Nothing);
  {
    SessionImage image = new_image(path);
    EXPECT_FALSE(SessionImage::create({.path = path}, {.worker_nodes = {-1}, .capacity = 8}, moment_at(100)))
        << "the other one starts at the same time";
    ASSERT_TRUE(image.take_effect());
    EXPECT_EQ(lock_existing(path).found, Found::InUse);
  }
  EXPECT_EQ(lock_existing(path).found, Found::Locked) << "the lock has gone with the process";
}

TEST(SessionImage, WhatAKilledStartHasLeftIsReplaced) {
  const MemoryDirectory directory;
  const std::string path = directory.file("a.sessions");
  { const FileDescriptor left{open((path + ".new").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)}; }
  SessionImage image = new_image(path);
  EXPECT_TRUE(image.take_effect());
}

TEST(SessionImage, AFileOfOthersIsLeftAlone) {
  const MemoryDirectory directory;
  const std::string path = directory.file("a.sessions");
  { const FileDescriptor theirs{open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)}; }
  ASSERT_EQ(chmod(path.c_str(), 0644), 0);
  EXPECT_EQ(lock_existing(path).found, Found::Foreign);
  std::filesystem::remove(path);
  std::filesystem::create_symlink("/etc/passwd", path);
  EXPECT_EQ(lock_existing(path).found, Found::Foreign);
}

TEST(ImagePlaces, FollowFromTheControlSocket) {
  const MemoryDirectory directory;
  const auto beside = image_places(directory.file("vmnat.sock"));
  const auto at = std::ranges::find(beside, directory.file("vmnat.sock.sessions"), &ImagePlace::path);
  ASSERT_NE(at, beside.end());
  EXPECT_FALSE(at->is_huge);
  EXPECT_EQ(beside.back().path.find("/dev/shm/vmnat-dev-shm-vmnat-test-"), 0u);
  EXPECT_NE(image_places("/nowhere/a.sock").back().path, image_places("/nowhere/b.sock").back().path);
}

TEST(SessionNames, AreTextThatIsCheckedWhenItIsRead) {
  EXPECT_EQ(names_in(to_json(some_names())), some_names());
  EXPECT_EQ(names_in(to_json(SessionNames{})), SessionNames{});
  for (const char* text : {"", "[]", "{}", R"({"ports":[],"owners":[],"networks":[]})",
                           R"({"ports":[1],"owners":[],"networks":[],"rented":"0.0.0.0"})",
                           R"({"ports":[],"owners":[255],"networks":[],"rented":"0.0.0.0"})",
                           R"({"ports":[],"owners":[],"networks":{},"rented":"0.0.0.0"})",
                           R"({"ports":[],"owners":[],"networks":[],"rented":"x"})"})
    EXPECT_FALSE(names_in(text)) << text;
}

}  // namespace
}  // namespace vmnat::control
