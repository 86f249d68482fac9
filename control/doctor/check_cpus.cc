// SPDX-License-Identifier: Apache-2.0
// CPUs of workers and of control, and the kernel's age.
#include <algorithm>
#include <fmt/ranges.h>

#include "control/doctor/examine.h"
#include "control/doctor/named_devices.h"

namespace vmnat::doctor {
namespace {

std::vector<unsigned> worker_cpus(const Patient& patient) {
  return patient.live != nullptr ? patient.live->worker_cpus : patient.config.dataplane.workers;
}

std::string cpu_text(unsigned cpu) {
  return fmt::format("CPU {}", cpu);
}

std::vector<unsigned> online(const HostFacts& host) {
  std::vector<unsigned> cpus;
  for (const auto& [cpu, facts] : host.cpus)
    if (facts.is_online) cpus.push_back(cpu);
  return cpus;
}

void check_presence(const Patient& patient, unsigned cpu, std::string_view key, Findings& findings) {
  if (patient.host.cpus.empty()) return;  // not known
  const auto found = patient.host.cpus.find(cpu);
  if (found == patient.host.cpus.end() || !found->second.is_online)
    findings.add(
        "worker-cpu-absent", cpu_text(cpu),
        fmt::format("dataplane.{} names it; online are {}", key, fmt::join(online(patient.host), ", ")),
        fmt::arg("key", key), fmt::arg("cpu", cpu), fmt::arg("cpus", "..."));
  else if (patient.live == nullptr && !found->second.is_allowed)
    findings.add("worker-cpu-forbidden", cpu_text(cpu),
                 fmt::format("dataplane.{} names it, and this process may not run there", key));
}

// The file cannot give a CPU to two of them; where workers have all that there are, control shares theirs.
void check_sharing(const Patient& patient, const std::vector<unsigned>& workers, Findings& findings) {
  if (workers.empty() || patient.host.cpus.empty() || patient.config.dataplane.control_cpu) return;
  const bool is_one_left = std::ranges::any_of(patient.host.cpus, [&](const auto& entry) {
    return entry.second.is_online && entry.second.is_allowed &&
           std::ranges::find(workers, entry.first) == workers.end();
  });
  if (!is_one_left)
    findings.add("worker-cpu-shared", cpu_text(workers.back()),
                 "workers have every CPU that vmnatd may use: the control thread shares theirs",
                 fmt::arg("key", "dataplane.workers"));
}

// What is so of some of the workers' CPUs, as one finding: "CPUs 2, 3".
template <typename IsSo>
std::string cpus_that(const Patient& patient, const std::vector<unsigned>& workers, IsSo is_so) {
  std::vector<unsigned> cpus;
  for (const unsigned cpu : workers)
    if (const auto found = patient.host.cpus.find(cpu);
        found != patient.host.cpus.end() && is_so(found->second))
      cpus.push_back(cpu);
  return fmt::format("{}", fmt::join(cpus, ","));
}

void check_quiet(const Patient& patient, const std::vector<unsigned>& workers, Findings& findings) {
  const std::string busy = cpus_that(patient, workers, [](const CpuFacts& cpu) { return !cpu.is_isolated; });
  if (!busy.empty())
    findings.add("worker-cpu-not-isolated", "CPU " + busy, "the kernel's command line does not isolate it",
                 fmt::arg("cpu", busy));
  const std::string ticks =
      cpus_that(patient, workers, [](const CpuFacts& cpu) { return cpu.is_isolated && !cpu.is_tickless; });
  if (!ticks.empty())
    findings.add("worker-cpu-ticks", "CPU " + ticks, "it is isolated, and has the timer's ticks",
                 fmt::arg("cpu", ticks));
  const std::string saving = cpus_that(patient, workers, [](const CpuFacts& cpu) {
    return !cpu.governor.empty() && cpu.governor != "performance";
  });
  if (!saving.empty())
    findings.add("cpu-governor", "CPU " + saving, "its frequency governor is not performance",
                 fmt::arg("cpu", saving));
}

void check_siblings(const Patient& patient, const std::vector<unsigned>& workers, Findings& findings) {
  for (std::size_t i = 0; i < workers.size(); ++i) {
    const auto found = patient.host.cpus.find(workers[i]);
    if (found == patient.host.cpus.end()) continue;
    for (const unsigned sibling : found->second.siblings)
      if (sibling != workers[i] && std::find(workers.begin() + static_cast<std::ptrdiff_t>(i), workers.end(),
                                             sibling) != workers.end())
        findings.add("worker-cpu-sibling", cpu_text(workers[i]),
                     fmt::format("it is of one core with CPU {}, which is a worker's, too", sibling));
  }
}

void check_preemption(const Patient& patient, const std::vector<unsigned>& workers, Findings& findings) {
  constexpr double kMany = 20;
  for (const unsigned cpu : workers)
    if (const auto found = patient.host.preemptions.find(cpu);
        found != patient.host.preemptions.end() && found->second > kMany)
      findings.add("worker-preempted", cpu_text(cpu),
                   fmt::format("its worker is put aside {:.0f} times a second", found->second),
                   fmt::arg("cpu", cpu));
}

void check_kernel(const Patient& patient, Findings& findings) {
  const KernelVersion kernel = patient.host.kernel;
  if (kernel.major == 0) return;
  bool is_too_old = false;
  const auto too_old = [&](KernelVersion needed, const std::string& object, std::string_view what) {
    if (kernel >= needed) return;
    is_too_old = true;
    findings.add("kernel-too-old", object,
                 fmt::format("Linux {}.{} runs, {} needs {}.{}", kernel.major, kernel.minor, what,
                             needed.major, needed.minor));
  };
  too_old({4, 14}, "kernel", "the membarrier system call of sockets and interfaces");
  for (const Named& named : named_devices(patient.config))
    if (named.device->driver == config::KernelDriver::Xdp) too_old({5, 4}, named.object, "driver: xdp");
  if (!is_too_old && kernel < KernelVersion{5, 14})  // a newer one mends both
    findings.add("kernel-slow-pages", "kernel", fmt::format("Linux {}.{} runs", kernel.major, kernel.minor));
}

}  // namespace

void check_cpus(const Patient& patient, Findings& findings) {
  const std::vector<unsigned> workers = worker_cpus(patient);
  for (const unsigned cpu : workers) check_presence(patient, cpu, "workers", findings);
  if (const auto control = patient.config.dataplane.control_cpu)
    check_presence(patient, *control, "control_cpu", findings);
  check_sharing(patient, workers, findings);
  check_siblings(patient, workers, findings);
  check_quiet(patient, workers, findings);
  check_preemption(patient, workers, findings);
  check_kernel(patient, findings);
}

}  // namespace vmnat::doctor
