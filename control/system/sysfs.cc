// SPDX-License-Identifier: Apache-2.0
#include "control/system/sysfs.h"

#include <charconv>
#include <fstream>
#include <sstream>

namespace vmnat::control {
namespace fs = std::filesystem;

std::optional<unsigned> whole_number(std::string_view text) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string first_line(const fs::path& path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

std::vector<unsigned> cpus_of(const std::string& list) {
  std::vector<unsigned> cpus;
  std::istringstream parts(list);
  for (std::string part; std::getline(parts, part, ',');) {
    const auto dash = part.find('-');
    const auto first = whole_number(std::string_view(part).substr(0, dash));
    const auto last =
        dash == std::string::npos ? first : whole_number(std::string_view(part).substr(dash + 1));
    if (!first || !last) continue;
    for (unsigned cpu = *first; cpu <= *last; ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

// "hugepages-2048kB/free_hugepages"
std::uint64_t free_hugepage_bytes(const fs::path& sysfs) {
  std::uint64_t total = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(sysfs / "kernel/mm/hugepages", error)) {
    const std::string name = entry.path().filename();
    constexpr std::string_view kPrefix = "hugepages-";
    std::uint64_t kib = 0;
    std::uint64_t free = 0;
    if (name.starts_with(kPrefix))
      std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), kib);
    std::ifstream(entry.path() / "free_hugepages") >> free;
    total += kib * 1024 * free;
  }
  return total;
}

}  // namespace vmnat::control
