// SPDX-License-Identifier: Apache-2.0
// A directory of its own for a test; it goes with the object.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace vmnat {

class TempDir {
 public:
  TempDir() {
    char name[] = "/tmp/vmnat-test-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace vmnat
