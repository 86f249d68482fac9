// SPDX-License-Identifier: Apache-2.0
#include "control/http/token.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <sys/stat.h>
#include <system_error>

namespace vmnat::http {
namespace {

constexpr std::size_t kShortest = 16;

tl::unexpected<control::Error> problem(const std::string& path, const std::string& what) {
  return tl::unexpected(control::Error{"control.token_file: " + path, what});
}

}  // namespace

control::Result<std::string> read_token(const std::string& path) {
  struct stat status {};
  std::ifstream file(path);
  if (!file || ::stat(path.c_str(), &status) != 0)
    return problem(path, "cannot be read: " + std::generic_category().message(errno));
  if ((status.st_mode & S_IRWXO) != 0) return problem(path, "others may have access to it: chmod o-rwx");
  std::string token;
  std::getline(file, token);
  while (!token.empty() && (token.back() == ' ' || token.back() == '\r')) token.pop_back();
  const auto is_visible = [](char c) { return c > ' ' && c < '\x7f'; };
  if (token.size() < kShortest || !std::ranges::all_of(token, is_visible))
    return problem(path, "its first line is no token of 16 visible characters or more");
  return token;
}

}  // namespace vmnat::http
