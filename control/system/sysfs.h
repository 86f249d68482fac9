// SPDX-License-Identifier: Apache-2.0
// Small files of the kernel, in sysfs and procfs, as their readers want them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vmnat::control {

// Empty: there is none, or it cannot be read.
std::string first_line(const std::filesystem::path& path);

// Digits alone.
std::optional<unsigned> whole_number(std::string_view text);

// "0-3,8,10-11", as the kernel writes sets of CPUs. What is none is passed over.
std::vector<unsigned> cpus_of(const std::string& list);

// Free bytes of all sizes, in `sysfs`/kernel/mm/hugepages.
std::uint64_t free_hugepage_bytes(const std::filesystem::path& sysfs = "/sys");

}  // namespace vmnat::control
