// SPDX-License-Identifier: Apache-2.0
// The overlay as bytes: all comes back, and no damage passes for an overlay.
#include "control/changes/overlay_file.h"

#include <cstdio>
#include <fstream>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/control/changes/changed_text.h"
#include "tests/support/temp_dir.h"

namespace vmnat::control {
namespace {

std::vector<Edit> some_edits() {
  return {
      {.id = port_id("vm1"), .removes = true},
      {.id = port_id("vm9"), .adds = map_node({{"name", "vm9"}, {"vhost_user", "/run/vm9 \"x\": {y}.sock"}})},
      {.id = {Thing::Network, "lab", "lab"},
       .removes = true,
       .adds =
           file_document("name: lab\naddress: 10.9.0.1/24\nports: [{name: l1, device: l1}]\ndhcp:\n").root},
      {.id = {Thing::Forward, "red", "tcp 203.0.113.7:80"}, .removes = true},
      {.id = {Thing::Address, "red", "203.0.113.7"}, .adds = config::scalar_node("203.0.113.7")},
      {.id = {Thing::Drain, "red", "203.0.113.2"}, .adds = config::scalar_node("203.0.113.2")}};
}

std::string all_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

TEST(OverlayFile, GivesBackWhatWasWritten) {
  const auto edits = read_overlay_text(overlay_text(some_edits()));
  ASSERT_TRUE(edits) << edits.error().what;
  ASSERT_EQ(edits->size(), some_edits().size());
  for (std::size_t i = 0; i < edits->size(); ++i) {
    const Edit &read = (*edits)[i], written = some_edits()[i];
    EXPECT_EQ(read.id, written.id);
    EXPECT_EQ(read.removes, written.removes) << i;
    ASSERT_EQ(read.adds.has_value(), written.adds.has_value()) << i;
    EXPECT_TRUE(!read.adds || same_content(*read.adds, *written.adds)) << i;
  }
  EXPECT_EQ(overlay_text(*edits), overlay_text(some_edits()));
  EXPECT_TRUE(read_overlay_text(overlay_text({}))->empty());
}

TEST(OverlayFile, AnyByteChangedIsNoticed) {
  const std::string good = overlay_text(some_edits());
  for (std::size_t i = 0; i < good.size(); ++i)
    for (const int flip : {1, 2, 0x20, 0x80}) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ flip);
      EXPECT_FALSE(read_overlay_text(bad)) << "byte " << i << " xor " << flip;
    }
}

TEST(OverlayFile, AnyCutIsNoticed) {
  const std::string good = overlay_text(some_edits());
  for (std::size_t i = 0; i < good.size(); ++i) EXPECT_FALSE(read_overlay_text(good.substr(0, i))) << i;
  EXPECT_FALSE(read_overlay_text(good + "\n"));
  EXPECT_FALSE(read_overlay_text(""));
}

// With a checksum that fits: what somebody has made by hand.
TEST(OverlayFile, WhatIsNoOverlayIsRefusedWhateverItsChecksum) {
  for (const char* line :
       {"- 5\n", "- {adds: port}\n", "- {adds: dog, name: x, value: 1}\n", "- {removes: port}\n",
        "- {removes: port, name: x, value: {}}\n", "- {adds: port, name: x}\n", "- [\n", "- {}\n"}) {
    // The head's checksum is told by overlay_text() of nothing else: made here from the line.
    std::uint64_t hash = 0xcbf29ce484222325;
    for (const char* c = line; *c != 0; ++c) hash = (hash ^ static_cast<unsigned char>(*c)) * 0x100000001b3;
    char head[128];
    std::snprintf(head, sizeof head,
                  "# vmnat overlay 1, checksum %016llx. Written by vmnatd; change it by vmnatctl.\n",
                  static_cast<unsigned long long>(hash));
    EXPECT_FALSE(read_overlay_text(std::string{head} + line)) << line;
  }
}

TEST(OverlayFile, TakesItsPlaceOnlyWhenItIsPutThere) {
  const TempDir dir;
  const std::string path = dir / "state/overlay.yaml";
  EXPECT_TRUE(read_overlay(path)->empty()) << "no file is an empty overlay";
  {
    const auto fresh = write_overlay(path, some_edits());
    ASSERT_TRUE(fresh) << to_string(fresh.error());
    EXPECT_TRUE(read_overlay(path)->empty()) << "it is not in its place yet";
  }
  EXPECT_NE(::access((path + ".new").c_str(), F_OK), 0) << "what was not put in place goes";
  auto fresh = write_overlay(path, some_edits());
  ASSERT_TRUE(std::move(*fresh).put_in_place_durably());
  EXPECT_EQ(read_overlay(path)->size(), some_edits().size());
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST(OverlayFile, CannotBeWrittenWhereThereIsNoDirectory) {
  const TempDir dir;
  write(dir / "state", "a file");
  const auto fresh = write_overlay(dir / "state/overlay.yaml", some_edits());
  ASSERT_FALSE(fresh);
  EXPECT_THAT(fresh.error().what, ::testing::StartsWith("cannot be written"));
}

TEST(OverlayFile, EachGoesAsideUnderANameOfItsOwn) {
  const TempDir dir;
  const std::string path = dir / "overlay.yaml";
  write(path, "one");
  EXPECT_EQ(*set_aside(path), path + ".aside");
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
  write(path, "two");
  EXPECT_EQ(*copy_aside(path), path + ".aside-2");
  EXPECT_EQ(all_of(path), "two");
  EXPECT_EQ(all_of(path + ".aside"), "one");
  EXPECT_EQ(all_of(path + ".aside-2"), "two");
  EXPECT_FALSE(set_aside(dir / "nothing"));
}

}  // namespace
}  // namespace vmnat::control
