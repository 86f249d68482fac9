// SPDX-License-Identifier: Apache-2.0
// NICs by sysfs; interfaces by rtnetlink and ethtool, which know the namespace of who asks, as a mounted sysfs may not.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/doctor/gather.h"
#include "control/doctor/named_devices.h"
#include "control/system/file_descriptor.h"
#include "control/system/sysfs.h"

namespace vmnat::doctor {
namespace {

namespace fs = std::filesystem;

// The last part of what a link leads to; empty: there is no link.
std::string target_of(const fs::path& link) {
  std::error_code error;
  return fs::read_symlink(link, error).filename();
}

PciFacts nic_at(const fs::path& root, const std::string& address) {
  const fs::path device = root / "sys/bus/pci/devices" / address;
  std::error_code error;
  PciFacts nic{.is_there = fs::exists(device, error), .driver = target_of(device / "driver")};
  if (const std::string node = control::first_line(device / "numa_node"); !node.empty())
    nic.node = std::atoi(node.c_str());
  nic.group = control::whole_number(target_of(device / "iommu_group"));
  if (!nic.group) return nic;
  const std::string number = std::to_string(*nic.group);
  nic.is_noiommu = control::first_line(root / "sys/kernel/iommu_groups" / number / "name") == "vfio-noiommu";
  const fs::path file = root / "dev/vfio" / ((nic.is_noiommu ? "noiommu-" : "") + number);
  nic.may_open_group = access(file.c_str(), R_OK | W_OK) == 0;
  return nic;
}

// Whether the interface leaves the checksums of what it sends to a NIC.
bool leaves_checksums(const std::string& interface) {
  const control::FileDescriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ethtool_value value{.cmd = ETHTOOL_GTXCSUM, .data = 0};
  ifreq query{};
  std::strncpy(query.ifr_name, interface.c_str(), IFNAMSIZ - 1);
  query.ifr_data = static_cast<char*>(static_cast<void*>(&value));
  return socket.is_open() && ioctl(socket.number(), SIOCETHTOOL, &query) == 0 && value.data != 0;
}

std::string name_of(const control::KernelLinks& links, int index) {
  const auto found = links.all().find(index);
  return found == links.all().end() ? std::string{} : found->second.name;
}

InterfaceFacts facts_of(const fs::path& root, const control::KernelLinks& links,
                        const control::KernelLink& link) {
  InterfaceFacts facts{.link = link,
                       .bridge = link.master == 0 ? std::string{} : name_of(links, link.master)};
  facts.forwards = control::first_line(root / "proc/sys/net/ipv4/conf" / link.name / "forwarding") == "1";
  if (link.kind == "veth" && link.lower != 0) facts.peer = name_of(links, link.lower);
  facts.peer_leaves_checksums = !facts.peer.empty() && leaves_checksums(facts.peer);
  return facts;
}

}  // namespace

void gather_nics(const config::Config& config, const fs::path& root, HostFacts& facts) {
  for (const Named& named : named_devices(config))
    if (const std::string address = config::pci_address(named.device->name); !address.empty())
      facts.pci.emplace(address, nic_at(root, address));
}

void gather_interfaces(const fs::path& root, HostFacts& facts) {
  if (auto routes = control::read_routes()) facts.routes = *std::move(routes);
  const auto links = control::KernelLinks::open();
  if (!links) return;
  facts.are_interfaces_known = true;
  for (const auto& [index, link] : links->all())
    facts.interfaces.emplace(link.name, facts_of(root, *links, link));
  for (const control::KernelRoute& route : facts.routes)
    if (const auto found = facts.interfaces.find(route.interface);
        route.is_own_address && found != facts.interfaces.end())
      found->second.addresses.push_back(route.to.address);
}

}  // namespace vmnat::doctor
