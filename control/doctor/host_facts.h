// SPDX-License-Identifier: Apache-2.0
// HostFacts: what this machine says of itself, as far as the configuration asks for it. The checks see nothing else of
// it, so that tests plant faults by writing a fact down.
//
// gather_host() reads /proc and /sys, asks rtnetlink and ethtool, and looks at files. It starts no program, and writes
// nothing; what it cannot learn stays as it is here, and is no finding. It may wait for the kernel's locks, so vmnatd
// has a thread of its own for it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/config/model.h"
#include "control/system/kernel_links.h"
#include "control/system/kernel_routes.h"
#include "net/address.h"

namespace vmnat::doctor {

struct CpuFacts {
  bool is_online = false, is_allowed = false;     // allowed: to this process
  bool is_isolated = false, is_tickless = false;  // isolcpus, nohz_full
  std::string governor;                           // empty: its clock is not ours to see
  std::vector<unsigned> siblings;                 // hyperthreads of its core, itself among them
  int node = -1;
};

struct Limit {
  std::uint64_t soft = UINT64_MAX, hard = UINT64_MAX;
};

struct MemoryFacts {
  std::uint64_t free_hugepage_bytes = 0;
  bool has_transparent_hugepages = true;
  std::uint64_t available = 0;  // bytes; 0: not known
  Limit memlock, files;         // of this process
  bool may_lock = false;        // whatever the limit
  std::optional<std::uint64_t> map_count;
  int overcommit = 0;
};

struct KernelVersion {
  unsigned major = 0, minor = 0;  // 0: not known
  auto operator<=>(const KernelVersion&) const = default;
};

struct PciFacts {
  bool is_there = false;
  std::string driver;             // empty: none
  std::optional<unsigned> group;  // IOMMU's
  bool is_noiommu = false;        // the group is one of VFIO's without an IOMMU
  bool may_open_group = true;
  int node = -1;
};

struct InterfaceFacts {
  control::KernelLink link;
  std::string bridge;                    // that it is a member of
  std::vector<net::Ipv4Addr> addresses;  // the kernel's
  bool forwards = false;                 // IPv4, by the kernel
  std::string peer;                      // of a veth, if it is in the same namespace
  bool peer_leaves_checksums = false;    // to a NIC
};

// Of the file behind a path of the configuration.
struct SocketFacts {
  bool exists = false, is_socket = false, may_connect = false;
  gid_t group = 0, wanted_group = 0;  // wanted: by the file; root's where there is no such group
  unsigned mode = 0;
  unsigned listeners = 0;        // sockets of this namespace that listen under the path
  std::string closed_directory;  // that keeps the group out
  bool group_may_create = true;  // in its directory
};

// A QEMU whose command line names a socket.
struct VmmFacts {
  std::string process;  // "qemu-system-x86_64 (4711)"
  bool listens = false, shares_memory = false;
};

struct AccountFacts {
  bool is_there = false, is_in_group = false;
  std::string primary_group;
};

struct DirectoryFacts {
  bool is_there = false, is_writable = true;
  std::uint64_t free_bytes = UINT64_MAX;
  bool may_be_created = true;  // where it is not there: the nearest directory above is writable
};

struct HostFacts {
  KernelVersion kernel;
  std::map<unsigned, CpuFacts> cpus;
  MemoryFacts memory;
  std::map<std::string, PciFacts> pci;               // by address, without devargs
  std::map<std::string, InterfaceFacts> interfaces;  // all of the namespace, by name
  bool are_interfaces_known = false;
  std::vector<control::KernelRoute> routes;
  std::map<std::string, SocketFacts> sockets;         // by path, of vhost-user ports
  std::map<std::string, std::vector<VmmFacts>> vmms;  // by socket
  bool are_processes_hidden = false;
  std::map<std::string, AccountFacts> qemu_users;  // libvirt's, by name
  std::vector<net::Ipv4Addr> dns_listeners;        // of UDP port 53; 0.0.0.0: all addresses
  std::vector<net::Ipv4Addr> resolvers;            // that VMs can use, of this host
  bool has_dnsmasq = true;
  bool has_apparmor_for_libvirt = false, has_apparmor_for_dnsmasq = false;
  bool is_tun_usable = true;
  std::vector<std::string> unknown_accounts;  // of control.group and control.admins
  std::string closed_to_admins;               // a directory on the way to the admin socket
  DirectoryFacts state_dir;
  std::string user;         // who looks
  std::int64_t wall_s = 0;  // since 1970
  std::optional<bool> is_clock_synchronised;
  std::map<unsigned, double> preemptions;  // a second, of the thread that is pinned to the CPU
};

// Files are looked for below `root`: "/" of the machine, or a test's directory.
HostFacts gather_host(const config::Config& config, const std::filesystem::path& root = "/");

}  // namespace vmnat::doctor
