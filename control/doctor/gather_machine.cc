// SPDX-License-Identifier: Apache-2.0
// CPUs, memory, limits and clocks, as /proc and /sys tell of them.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <sys/timex.h>
#include <thread>

#include "base/transparent_hugepages.h"
#include "control/doctor/gather.h"
#include "control/system/sysfs.h"

namespace vmnat::doctor {
namespace {

namespace fs = std::filesystem;
using control::cpus_of;
using control::first_line;

bool holds(const std::vector<unsigned>& cpus, unsigned cpu) {
  return std::ranges::find(cpus, cpu) != cpus.end();
}

// What stands behind "KEY:" in a file of such lines; empty: there is none.
std::string value_in(const fs::path& path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(key) && line.size() > key.size() && line[key.size()] == ':') {
      const auto begin = line.find_first_not_of(" \t", key.size() + 1);
      return begin == std::string::npos ? std::string{} : line.substr(begin);
    }
  return {};
}

std::uint64_t number_at_start(const std::string& text, int base = 10) {
  return std::strtoull(text.c_str(), nullptr, base);
}

// "node1" stands in the CPU's directory as a link.
int node_in(const fs::path& cpu) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(cpu, error))
    if (const std::string name = entry.path().filename(); name.starts_with("node"))
      if (const auto node = control::whole_number(std::string_view(name).substr(4)))
        return static_cast<int>(*node);
  return -1;
}

// "6.1.0-18-amd64"
KernelVersion version_of(const std::string& release) {
  KernelVersion version;
  char dot = 0;
  std::istringstream text(release);
  text >> version.major >> dot >> version.minor;
  return version;
}

// "Max open files            1024                 1048576              files"
Limit limit_in(const fs::path& path, std::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(name)) continue;
    std::istringstream words(line.substr(name.size()));
    std::string soft, hard;
    words >> soft >> hard;
    const auto of = [](const std::string& word) {
      return word == "unlimited" ? UINT64_MAX : number_at_start(word);
    };
    return {of(soft), of(hard)};
  }
  return {};
}

// By CPU: how often the thread that is pinned to it, a worker's, has been put aside so far.
std::map<unsigned, std::uint64_t> interruptions(const fs::path& root) {
  std::map<unsigned, std::uint64_t> counts;
  std::error_code error;
  for (const auto& task : fs::directory_iterator(root / "proc/self/task", error)) {
    const fs::path status = task.path() / "status";
    if (!value_in(status, "Name").starts_with("lcore-worker")) continue;
    if (const auto cpus = cpus_of(value_in(status, "Cpus_allowed_list")); cpus.size() == 1)
      counts[cpus.front()] = number_at_start(value_in(status, "nonvoluntary_ctxt_switches"));
  }
  return counts;
}

}  // namespace

void gather_cpus(const fs::path& root, HostFacts& facts) {
  const fs::path all = root / "sys/devices/system/cpu";
  const auto online = cpus_of(first_line(all / "online"));
  const auto isolated = cpus_of(first_line(all / "isolated"));
  const auto tickless = cpus_of(first_line(all / "nohz_full"));
  const auto allowed = cpus_of(value_in(root / "proc/self/status", "Cpus_allowed_list"));
  for (const unsigned cpu : cpus_of(first_line(all / "present"))) {
    const fs::path own = all / ("cpu" + std::to_string(cpu));
    facts.cpus[cpu] = {.is_online = holds(online, cpu),
                       .is_allowed = holds(allowed, cpu),
                       .is_isolated = holds(isolated, cpu),
                       .is_tickless = holds(tickless, cpu),
                       .governor = first_line(own / "cpufreq/scaling_governor"),
                       .siblings = cpus_of(first_line(own / "topology/thread_siblings_list")),
                       .node = node_in(own)};
  }
  facts.kernel = version_of(first_line(root / "proc/sys/kernel/osrelease"));
}

void gather_memory(const fs::path& root, HostFacts& facts) {
  constexpr unsigned kIpcLock = 14;  // capabilities(7)
  MemoryFacts& memory = facts.memory;
  memory.free_hugepage_bytes = control::free_hugepage_bytes(root / "sys");
  memory.has_transparent_hugepages = vmnat::has_transparent_hugepages(root / "sys");
  memory.available = number_at_start(value_in(root / "proc/meminfo", "MemAvailable")) << 10;
  memory.memlock = limit_in(root / "proc/self/limits", "Max locked memory");
  memory.files = limit_in(root / "proc/self/limits", "Max open files");
  memory.may_lock = (number_at_start(value_in(root / "proc/self/status", "CapEff"), 16) >> kIpcLock & 1) != 0;
  if (const std::string count = first_line(root / "proc/sys/vm/max_map_count"); !count.empty())
    memory.map_count = number_at_start(count);
  memory.overcommit = static_cast<int>(number_at_start(first_line(root / "proc/sys/vm/overcommit_memory")));
}

void gather_clock(HostFacts& facts) {
  facts.wall_s =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  timex state{};  // asks for nothing to be set
  if (const int clock = adjtimex(&state); clock >= 0)
    facts.is_clock_synchronised = clock != TIME_ERROR && (state.status & STA_UNSYNC) == 0;
}

void gather_preemptions(const fs::path& root, HostFacts& facts) {
  constexpr std::chrono::milliseconds kPause{250};
  const auto before = interruptions(root);
  if (before.empty()) return;
  std::this_thread::sleep_for(kPause);
  for (const auto& [cpu, count] : interruptions(root))
    if (const auto known = before.find(cpu); known != before.end())
      facts.preemptions[cpu] =
          static_cast<double>(count - known->second) / std::chrono::duration<double>(kPause).count();
}

}  // namespace vmnat::doctor
