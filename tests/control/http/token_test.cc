// SPDX-License-Identifier: Apache-2.0
#include "control/http/token.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace vmnat::http {
namespace {

using std::filesystem::perms;

control::Result<std::string> read(const std::string& content, perms mode) {
  const TempDir directory;
  const std::string path = directory / "token";
  std::ofstream(path) << content;
  std::filesystem::permissions(path, mode);
  return read_token(path);
}
constexpr perms kOwner = perms::owner_read, kGroup = perms::owner_read | perms::group_read;

TEST(TokenFile, HoldsTheTokenInItsFirstLine) {
  EXPECT_EQ(read("0123456789abcdef\n", kOwner), "0123456789abcdef");
  EXPECT_EQ(read("0123456789abcdef \r\nsecond line", kGroup), "0123456789abcdef");
}

TEST(TokenFile, IsRefusedWithAShortToken) {
  for (const char* content : {"", "\n", "0123456789abcde", "0123456789abcde\x01", "0123456789 abcdef"})
    EXPECT_FALSE(read(content, kOwner)) << content;
}

TEST(TokenFile, IsRefusedIfOthersMayReadIt) {
  const auto token = read("0123456789abcdef", kGroup | perms::others_read);
  ASSERT_FALSE(token);
  EXPECT_EQ(token.error().what, "others may have access to it: chmod o-rwx");
}

TEST(TokenFile, IsRefusedIfItIsNotThere) {
  const auto token = read_token("/nowhere/token");
  ASSERT_FALSE(token);
  EXPECT_EQ(to_string(token.error()),
            "control.token_file: /nowhere/token: cannot be read: No such file or directory");
}

}  // namespace
}  // namespace vmnat::http
