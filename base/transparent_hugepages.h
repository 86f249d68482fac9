// SPDX-License-Identifier: Apache-2.0
// Whether Linux gives transparent huge pages to memory that asks for them, as session tables do.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

namespace vmnat {

// "always [madvise] never"; a kernel without them has no such file.
inline bool has_transparent_hugepages(const std::filesystem::path& sysfs = "/sys") {
  std::ifstream file(sysfs / "kernel/mm/transparent_hugepage/enabled");
  std::string choices;
  std::getline(file, choices);
  return choices.find("[always]") != std::string::npos || choices.find("[madvise]") != std::string::npos;
}

}  // namespace vmnat
