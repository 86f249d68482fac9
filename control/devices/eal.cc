// SPDX-License-Identifier: Apache-2.0
#include "control/devices/eal.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <sched.h>
#include <sstream>
#include <string>

#include "base/transparent_hugepages.h"
#include "control/system/sysfs.h"

namespace vmnat::control {
namespace {

std::vector<const config::VmPort*> all_ports(const config::Config& config) {
  std::vector<const config::VmPort*> ports;
  for (const auto& network : config.networks)
    for (const auto& port : network.ports) ports.push_back(&port);
  return ports;
}

// A PCI device, or those that devargs name, as a bond's do its links.
void add_pci_devices(const std::string& device, std::vector<std::string>& devices) {
  const auto is_pci = [](const std::string& name) {
    return config::device_kind(name) == config::DeviceKind::Pci;
  };
  const auto add = [&](const std::string& name) {
    const bool is_known = std::ranges::find(devices, name) != devices.end();  // several ports share it
    if (is_pci(name) && !is_known) devices.push_back(name);
  };
  if (is_pci(device)) return add(device);
  std::istringstream arguments(device);
  for (std::string argument; std::getline(arguments, argument, ',');)
    add(argument.substr(argument.find('=') + 1));
}

std::vector<std::string> pci_devices(const config::Config& config) {
  std::vector<std::string> devices;
  const auto add = [&](const std::string& device) { add_pci_devices(device, devices); };
  for (std::size_t i = 0; i < config::uplink_count(config); ++i)
    add(config::uplink_at(config, i).device.name);
  for (const auto* port : all_ports(config)) add(port->device.name);
  return devices;
}

// Frames of the uplink then stay on its NUMA node.
unsigned last_cpu_near_uplink(const Machine& machine) {
  if (machine.uplink_node != kNoNode)
    for (auto cpu = machine.cpus.rbegin(); cpu != machine.cpus.rend(); ++cpu)
      if (machine.numa.of_cpu(*cpu) == machine.uplink_node) return *cpu;
  return machine.cpus.back();
}

Result<std::vector<unsigned>> choose_worker_cpus(const config::Dataplane& dataplane, const Machine& machine) {
  if (dataplane.workers.empty()) return std::vector{last_cpu_near_uplink(machine)};
  for (const unsigned cpu : dataplane.workers)
    if (std::ranges::find(machine.cpus, cpu) == machine.cpus.end())
      return tl::unexpected(
          Error{"dataplane.workers", fmt::format("CPU {} is not available to this process; it may run on {}",
                                                 cpu, fmt::join(machine.cpus, ", "))});
  return dataplane.workers;
}

// The control thread keeps off the workers' CPUs when there are others.
Result<std::vector<unsigned>> choose_control_cpus(const config::Dataplane& dataplane, const Machine& machine,
                                                  const std::vector<unsigned>& worker_cpus) {
  if (dataplane.control_cpu) {
    if (std::ranges::find(machine.cpus, *dataplane.control_cpu) == machine.cpus.end())
      return tl::unexpected(
          Error{"dataplane.control_cpu",
                fmt::format("CPU {} is not available to this process", *dataplane.control_cpu)});
    return std::vector{*dataplane.control_cpu};
  }
  std::vector<unsigned> cpus;
  std::ranges::copy_if(machine.cpus, std::back_inserter(cpus), [&](unsigned cpu) {
    return std::ranges::find(worker_cpus, cpu) == worker_cpus.end();
  });
  return cpus.empty() ? machine.cpus : cpus;
}

std::string lcores_argument(const std::vector<unsigned>& control_cpus,
                            const std::vector<unsigned>& worker_cpus) {
  std::string argument = fmt::format("--lcores=0@({})", fmt::join(control_cpus, ","));
  for (std::size_t i = 0; i < worker_cpus.size(); ++i)
    argument += fmt::format(",{}@{}", i + 1, worker_cpus[i]);
  return argument;
}

Result<bool> choose_hugepages(const config::Dataplane& dataplane, const Machine& machine,
                              std::vector<std::string>& notes) {
  if (dataplane.hugepages == config::Hugepages::Off) return false;
  if (machine.free_hugepage_bytes >= dataplane.memory.bytes) return true;
  const auto mebibytes = [](std::uint64_t bytes) { return bytes >> 20; };
  const std::string lack =
      fmt::format("{} MiB of hugepages are free, dataplane.memory asks for {} MiB",
                  mebibytes(machine.free_hugepage_bytes), mebibytes(dataplane.memory.bytes));
  if (dataplane.hugepages == config::Hugepages::Required)
    return tl::unexpected(
        Error{"dataplane.hugepages", lack + "; reserve some: sysctl vm.nr_hugepages=" +
                                         std::to_string(mebibytes(dataplane.memory.bytes) / 2 + 1)});
  notes.push_back(lack + ": running on ordinary pages, slower");
  return false;
}

}  // namespace

Machine this_machine(const config::Config& config) {
  Machine machine{.free_hugepage_bytes = free_hugepage_bytes(),
                  .has_transparent_hugepages = has_transparent_hugepages(),
                  .numa = NumaNodes::read(),
                  .uplink_node = numa_node_of_device(config.uplink.device.name)};
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  sched_getaffinity(0, sizeof allowed, &allowed);
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &allowed)) machine.cpus.push_back(cpu);
  return machine;
}

Result<EalPlan> plan_eal(const config::Config& config, const Machine& machine) {
  EalPlan plan;
  auto worker_cpus = choose_worker_cpus(config.dataplane, machine);
  if (!worker_cpus) return tl::unexpected(worker_cpus.error());
  plan.worker_cpus = *worker_cpus;
  const auto control_cpus = choose_control_cpus(config.dataplane, machine, plan.worker_cpus);
  if (!control_cpus) return tl::unexpected(control_cpus.error());
  for (const unsigned cpu : plan.worker_cpus) plan.worker_nodes.push_back(machine.numa.of_cpu(cpu));
  plan.control_node = machine.numa.of_cpus(*control_cpus);
  const auto hugepages = choose_hugepages(config.dataplane, machine, plan.notes);
  if (!hugepages) return tl::unexpected(hugepages.error());
  plan.uses_hugepages = *hugepages;
  if (!machine.has_transparent_hugepages)
    plan.notes.emplace_back(
        "transparent huge pages are off: session tables lie in ordinary pages, slower with many sessions");

  const std::vector<std::string> pci = pci_devices(config);
  plan.arguments = {"vmnatd", lcores_argument(*control_cpus, plan.worker_cpus),
                    fmt::format("-m{}", config.dataplane.memory.bytes >> 20)};
  // The EAL does not take back what it has been told first.
  if (std::ranges::find(config.dataplane.eal, "--telemetry") == config.dataplane.eal.end())
    plan.arguments.emplace_back("--no-telemetry");
  if (plan.uses_hugepages)
    plan.arguments.emplace_back("--in-memory");
  else
    plan.arguments.insert(plan.arguments.end(), {"--no-huge", "--no-shconf"});
  if (pci.empty()) {
    plan.arguments.insert(plan.arguments.end(), {"--no-pci", "--iova-mode=va"});
  } else {
    for (const std::string& device : pci) plan.arguments.push_back("--allow=" + device);
  }
  plan.arguments.insert(plan.arguments.end(), config.dataplane.eal.begin(), config.dataplane.eal.end());
  return plan;
}

Result<void> start_eal(const EalPlan& plan) {
  std::vector<std::string> arguments = plan.arguments;  // the EAL may permute and keep them
  std::vector<char*> argv;
  argv.reserve(arguments.size());
  for (std::string& argument : arguments) argv.push_back(argument.data());
  if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0)
    return tl::unexpected(
        Error{"DPDK", fmt::format("the EAL does not start: {} (arguments: {}); --log-level debug tells more",
                                  rte_strerror(rte_errno), fmt::join(plan.arguments, " "))});
  return {};
}

}  // namespace vmnat::control
