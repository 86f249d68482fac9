// SPDX-License-Identifier: Apache-2.0
// Memory, and the limits of a process.
#include "control/doctor/examine.h"
#include "control/doctor/named_devices.h"

namespace vmnat::doctor {
namespace {

constexpr std::uint64_t mebibytes(std::uint64_t bytes) {
  return bytes >> 20;
}

void check_hugepages(const Patient& patient, Findings& findings) {
  const config::Dataplane& dataplane = patient.config.dataplane;
  const std::uint64_t free = patient.host.memory.free_hugepage_bytes;
  const bool are_enough =
      patient.live != nullptr ? patient.live->uses_hugepages : free >= dataplane.memory.bytes;
  if (are_enough || dataplane.hugepages == config::Hugepages::Off) return;
  const std::string seen = fmt::format("{} MiB of hugepages are free, dataplane.memory is {} MiB",
                                       mebibytes(free), mebibytes(dataplane.memory.bytes));
  const std::uint64_t wanted = mebibytes(dataplane.memory.bytes) / 2 + 1;
  const auto pages = fmt::arg("pages", wanted);
  if (dataplane.hugepages == config::Hugepages::Required)
    findings.add("hugepages-missing", "dataplane.hugepages", seen, pages);
  else
    findings.add("hugepages-none-free", "dataplane.hugepages", seen, pages);
}

void check_transparent_hugepages(const Patient& patient, Findings& findings) {
  if (!patient.host.memory.has_transparent_hugepages)
    findings.add("transparent-hugepages-off", "conntrack.sessions",
                 "/sys/kernel/mm/transparent_hugepage/enabled is neither `madvise` nor `always`");
}

void check_room(const Patient& patient, Findings& findings) {
  const std::uint64_t available = patient.host.memory.available;
  const std::uint64_t wanted = patient.config.dataplane.memory.bytes;
  if (patient.live != nullptr || available == 0 || wanted <= available) return;
  if (patient.host.memory.free_hugepage_bytes >= wanted) return;
  findings.add(
      "memory-short", "dataplane.memory",
      fmt::format("{} MiB are available, {} MiB are asked for", mebibytes(available), mebibytes(wanted)),
      fmt::arg("fits", mebibytes(available) / 2));
}

// Without a vmnatd whose limits these are: what whoever starts it could allow it.
std::uint64_t of_vmnatd(const Patient& patient, const Limit& limit) {
  return patient.live != nullptr ? limit.soft : limit.hard;
}

void check_locked_memory(const Patient& patient, Findings& findings) {
  const MemoryFacts& memory = patient.host.memory;
  const std::uint64_t limit = of_vmnatd(patient, memory.memlock);
  if (memory.may_lock || limit >= patient.config.dataplane.memory.bytes) return;
  for (const Named& named : named_devices(patient.config))
    if (!config::pci_address(named.device->name).empty() || named.device->driver == config::KernelDriver::Xdp)
      return findings.add("limit-memlock", named.object,
                          fmt::format("{} KiB may be locked, dataplane.memory is {} MiB", limit >> 10,
                                      mebibytes(patient.config.dataplane.memory.bytes)));
}

// A socket has a connection, some regions of memory, and two eventfds for each of two rings a queue pair, twice.
std::uint64_t descriptors_wanted(const config::Config& config) {
  constexpr std::uint64_t kOfItself = 96, kOfPort = 12, kOfQueue = 6;
  std::uint64_t wanted = kOfItself;
  for (const config::Network& network : config.networks)
    for (const config::VmPort& port : network.ports) wanted += kOfPort + kOfQueue * port.queues;
  return wanted;
}

}  // namespace

void check_memory(const Patient& patient, Findings& findings) {
  check_hugepages(patient, findings);
  check_transparent_hugepages(patient, findings);
  check_room(patient, findings);
  check_locked_memory(patient, findings);
  const MemoryFacts& memory = patient.host.memory;
  const std::uint64_t wanted = descriptors_wanted(patient.config);
  if (const std::uint64_t limit = of_vmnatd(patient, memory.files); limit < wanted)
    findings.add("limit-nofile", "limits",
                 fmt::format("{} descriptors are allowed, some {} are wanted for all ports", limit, wanted),
                 fmt::arg("wanted", 2 * wanted));
  constexpr std::uint64_t kUsualMapCount = 65530;
  if (memory.map_count && *memory.map_count < kUsualMapCount)
    findings.add("map-count-low", "vm.max_map_count", fmt::format("it is {}", *memory.map_count));
  if (memory.overcommit == 2) findings.add("overcommit-strict", "vm.overcommit_memory", "it is 2");
}

}  // namespace vmnat::doctor
