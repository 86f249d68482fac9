// SPDX-License-Identifier: Apache-2.0
// NICs that DPDK is to drive.
#include <algorithm>
#include <array>

#include "control/doctor/examine.h"
#include "control/doctor/named_devices.h"

namespace vmnat::doctor {
namespace {

constexpr std::string_view kVfio = "vfio-pci";
// Their NICs stay the kernel's while DPDK drives them.
constexpr std::array<std::string_view, 3> kBifurcated{"mlx5_core", "mlx4_core", "mana"};
// Without an IOMMU.
constexpr std::array<std::string_view, 2> kUio{"igb_uio", "uio_pci_generic"};

void check_group(const Patient& patient, const std::string& address, const PciFacts& nic,
                 Findings& findings) {
  const std::string object = "NIC " + address;
  if (!nic.group)
    return findings.add("iommu-missing", object, "it is bound to vfio-pci, and in no IOMMU group");
  if (nic.is_noiommu)
    findings.add("iommu-bypassed", object, "VFIO runs without an IOMMU", fmt::arg("device", address));
  const std::string file = fmt::format("/dev/vfio/{}{}", nic.is_noiommu ? "noiommu-" : "", *nic.group);
  if (!nic.may_open_group)
    findings.add("vfio-forbidden", object, fmt::format("{} may not open {}", patient.host.user, file),
                 fmt::arg("user", patient.host.user), fmt::arg("file", file));
}

void check_numa(const Patient& patient, const std::string& address, const PciFacts& nic, Findings& findings) {
  const auto& workers =
      patient.live != nullptr ? patient.live->worker_cpus : patient.config.dataplane.workers;
  for (const unsigned cpu : workers) {
    const auto found = patient.host.cpus.find(cpu);
    if (nic.node < 0 || found == patient.host.cpus.end() || found->second.node < 0) continue;
    if (found->second.node != nic.node)
      findings.add("nic-numa-apart", "NIC " + address,
                   fmt::format("it is on NUMA node {}, the worker on CPU {} on node {}", nic.node, cpu,
                               found->second.node),
                   fmt::arg("node", nic.node));
  }
}

void check_nic(const Patient& patient, const Named& named, const std::string& address, Findings& findings) {
  const std::string object = "NIC " + address;
  const auto found = patient.host.pci.find(address);
  if (found == patient.host.pci.end()) return;
  const PciFacts& nic = found->second;
  if (!nic.is_there)
    return findings.add("nic-absent", object, fmt::format("{} names it, and it is not there", named.object));
  check_numa(patient, address, nic, findings);
  if (std::ranges::find(kBifurcated, nic.driver) != kBifurcated.end()) return;
  if (nic.driver == kVfio) return check_group(patient, address, nic, findings);
  if (std::ranges::find(kUio, nic.driver) != kUio.end())
    return findings.add("iommu-bypassed", object, fmt::format("its driver is {}", nic.driver),
                        fmt::arg("device", address));
  findings.add(
      "nic-driver", object,
      nic.driver.empty() ? "it has no driver" : fmt::format("its driver is the kernel's {}", nic.driver),
      fmt::arg("device", address));
}

}  // namespace

void check_nics(const Patient& patient, Findings& findings) {
  for (const Named& named : named_devices(patient.config))
    if (const std::string address = config::pci_address(named.device->name); !address.empty())
      check_nic(patient, named, address, findings);
}

}  // namespace vmnat::doctor
