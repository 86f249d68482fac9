// SPDX-License-Identifier: Apache-2.0
// Every row of the table is planted here, and found, and nothing else beside it.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <set>
#include <unistd.h>

#include "control/doctor/page.h"
#include "control/doctor/report.h"
#include "tests/control/doctor/bed.h"

namespace vmnat::doctor {
namespace {

using net::Ipv4Addr;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Planted {
  const char* id;
  const char* object;
  void (*plant)(Bed& bed);
  const char* mend = "";  // is within the command
};

net::Ipv4Prefix prefix(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d, std::uint8_t length) {
  return {Ipv4Addr::of(a, b, c, d), length};
}

const std::vector<Planted> kControlFaults{
    {"admin-group-unknown", "control", [](Bed& bed) { bed.host.unknown_accounts = {"group vmnat"}; }},
    {"admin-socket-closed", "control.socket", [](Bed& bed) { bed.host.closed_to_admins = "/run/vmnat"; },
     "chmod g+x /run/vmnat && chgrp vmnat"},
    {"state-dir-unwritable", "control.state_dir", [](Bed& bed) { bed.host.state_dir.is_writable = false; },
     "/var/lib/vmnat"},
    {"state-dir-unwritable", "control.state_dir",
     [](Bed& bed) { bed.host.state_dir = {.is_there = false, .may_be_created = false}; }},
    {"state-dir-full", "control.state_dir", [](Bed& bed) { bed.host.state_dir.free_bytes = 4096; }},
    {"leases-not-kept", "control.state_dir", [](Bed& bed) { bed.live.lease_problem = "the disk is full"; }},
    {"metrics-open", "control.metrics", [](Bed& bed) { bed.config.control.metrics->address = Ipv4Addr{}; },
     "127.0.0.1:9469"},
    {"processes-hidden", "host", [](Bed& bed) { bed.host.are_processes_hidden = true; }},
};

const std::vector<Planted> kMachineFaults{
    {"hugepages-missing", "dataplane.hugepages",
     [](Bed& bed) {
       bed.is_live = false;
       bed.config.dataplane.hugepages = config::Hugepages::Required;
       bed.host.memory.free_hugepage_bytes = 2 << 20;
     },
     "vm.nr_hugepages=257"},
    {"hugepages-none-free", "dataplane.hugepages", [](Bed& bed) { bed.live.uses_hugepages = false; }},
    {"transparent-hugepages-off", "conntrack.sessions",
     [](Bed& bed) { bed.host.memory.has_transparent_hugepages = false; }, "echo madvise"},
    {"memory-short", "dataplane.memory",
     [](Bed& bed) {
       bed.is_live = false;
       bed.config.dataplane.hugepages = config::Hugepages::Off;
       bed.host.memory.free_hugepage_bytes = 0;
       bed.host.memory.available = 256 << 20;
     },
     "memory: 128M"},
    {"limit-memlock", "uplink",
     [](Bed& bed) {
       bed.nic();
       bed.host.memory.memlock = {.soft = 8 << 20};
     }},
    {"limit-nofile", "limits", [](Bed& bed) { bed.host.memory.files.soft = 64; }, "LimitNOFILE=300"},
    {"map-count-low", "vm.max_map_count", [](Bed& bed) { bed.host.memory.map_count = 1024; }},
    {"overcommit-strict", "vm.overcommit_memory", [](Bed& bed) { bed.host.memory.overcommit = 2; }},
    {"worker-cpu-absent", "CPU 9", [](Bed& bed) { bed.config.dataplane.control_cpu = 9; }, "chcpu -e 9"},
    {"worker-cpu-absent", "CPU 0", [](Bed& bed) { bed.host.cpus[0].is_online = false; }},
    {"worker-cpu-forbidden", "CPU 2",
     [](Bed& bed) {
       bed.is_live = false;
       bed.host.cpus[2].is_allowed = false;
     }},
    {"worker-cpu-shared", "CPU 2",
     [](Bed& bed) {
       bed.config.dataplane.control_cpu.reset();
       for (const unsigned cpu : {0u, 1u, 3u}) bed.host.cpus[cpu].is_allowed = false;
     }},
    {"worker-cpu-sibling", "CPU 2",
     [](Bed& bed) {
       bed.live.worker_cpus = {2, 3};
       bed.host.cpus[2].siblings = bed.host.cpus[3].siblings = {2, 3};
     }},
    {"worker-cpu-not-isolated", "CPU 2", [](Bed& bed) { bed.host.cpus[2].is_isolated = false; },
     "isolcpus=2"},
    {"worker-cpu-ticks", "CPU 2", [](Bed& bed) { bed.host.cpus[2].is_tickless = false; }},
    {"cpu-governor", "CPU 2", [](Bed& bed) { bed.host.cpus[2].governor = "powersave"; }, "--cpu 2"},
    {"worker-preempted", "CPU 2", [](Bed& bed) { bed.host.preemptions[2] = 400; }},
    {"kernel-too-old", "port lab0",
     [](Bed& bed) {
       bed.port_of(2).device.driver = config::KernelDriver::Xdp;
       bed.host.kernel = {5, 3};
     }},
    {"kernel-slow-pages", "kernel",
     [](Bed& bed) {
       bed.host.kernel = {5, 10};
     }},
    {"clock-stepped", "clock",
     [](Bed& bed) { bed.live.clock_step = {.by = std::chrono::hours{-2}, .ago = std::chrono::seconds{5}}; }},
    {"clock-unset", "clock", [](Bed& bed) { bed.host.wall_s = 1000; }},
    {"clock-unsynchronised", "clock", [](Bed& bed) { bed.host.is_clock_synchronised = false; }},
};

const std::vector<Planted> kDeviceFaults{
    {"nic-absent", "NIC 0000:3b:00.0", [](Bed& bed) { bed.nic().is_there = false; }},
    {"nic-driver", "NIC 0000:3b:00.0", [](Bed& bed) { bed.nic().driver = "ixgbe"; },
     "dpdk-devbind.py --bind=vfio-pci 0000:3b:00.0"},
    {"nic-driver", "NIC 0000:3b:00.0", [](Bed& bed) { bed.nic().driver = ""; }},
    {"iommu-missing", "NIC 0000:3b:00.0", [](Bed& bed) { bed.nic().group.reset(); }},
    {"iommu-bypassed", "NIC 0000:3b:00.0", [](Bed& bed) { bed.nic().is_noiommu = true; }},
    {"iommu-bypassed", "NIC 0000:3b:00.0", [](Bed& bed) { bed.nic().driver = "igb_uio"; }},
    {"vfio-forbidden", "NIC 0000:3b:00.0", [](Bed& bed) { bed.nic().may_open_group = false; }, "/dev/vfio/7"},
    {"nic-numa-apart", "NIC 0000:3b:00.0", [](Bed& bed) { bed.nic().node = 1; }, "NUMA node 1"},
    {"interface-absent", "uplink", [](Bed& bed) { bed.host.interfaces.erase("eth1"); }},
    {"interface-down", "port lab0", [](Bed& bed) { bed.host.interfaces["veth0"].link.is_up = false; },
     "ip link set veth0 up"},
    {"interface-no-carrier", "port lab0",
     [](Bed& bed) { bed.host.interfaces["veth0"].link.has_carrier = false; }},
    {"interface-mtu-small", "port lab0", [](Bed& bed) { bed.host.interfaces["veth0"].link.mtu = 1400; },
     "ip link set veth0 mtu 1500"},
    {"interface-in-bridge", "port lab0", [](Bed& bed) { bed.host.interfaces["veth0"].bridge = "br0"; }},
    {"interface-has-address", "port lab0",
     [](Bed& bed) { bed.host.interfaces["veth0"].addresses = {Ipv4Addr::of(10, 1, 1, 1)}; }},
    {"veth-checksum", "port lab0",
     [](Bed& bed) {
       bed.port_of(2).device.driver = config::KernelDriver::Xdp;
       bed.host.interfaces["veth0"].peer = "veth1";
       bed.host.interfaces["veth0"].peer_leaves_checksums = true;
     },
     "ethtool -K veth1 tx off"},
    {"tun-unusable", "network default", [](Bed& bed) { bed.host.is_tun_usable = false; }},
};

const std::vector<Planted> kVmFaults{
    {"socket-directory-closed", "port vm2",
     [](Bed& bed) {
       bed.live.ports.pop_back();
       bed.socket("vm2").closed_directory = "/run/vmnat";
     },
     "chgrp kvm /run/vmnat && chmod g+x /run/vmnat"},
    {"socket-directory-closed", "port vm1",
     [](Bed& bed) {
       bed.vm1().attachment = Attachment::Nobody;
       bed.socket("vm1").group_may_create = false;
     }},
    {"socket-unusable", "port vm1", [](Bed& bed) { bed.socket("vm1").is_socket = false; }},
    {"socket-unusable", "port vm1", [](Bed& bed) { bed.socket("vm1").may_connect = false; }},
    {"socket-rights-differ", "port vm2", [](Bed& bed) { bed.socket("vm2").mode = 0600; },
     "chgrp kvm /run/vmnat/vm2.sock && chmod 0660"},
    {"both-listen", "port vm2", [](Bed& bed) { bed.vmm("vm2", true); }},
    {"both-listen", "port vm2", [](Bed& bed) { bed.socket("vm2").listeners = 2; }},
    {"both-connect", "port vm1", [](Bed& bed) { bed.vmm("vm1", false); }},
    {"qemu-outside-group", "user libvirt-qemu",
     [](Bed& bed) { bed.host.qemu_users["libvirt-qemu"].is_in_group = false; }, "--groups kvm libvirt-qemu"},
    {"apparmor-qemu", "host", [](Bed& bed) { bed.host.has_apparmor_for_libvirt = true; }},
    {"vm-memory-not-shared", "port vm1", [](Bed& bed) { bed.vmm("vm1", true).shares_memory = false; }},
    {"vm-memory-not-shared", "port vm1", [](Bed& bed) { bed.vm1().attachment = Attachment::NoMemory; }},
    {"vm-takes-nothing", "port vm1", [](Bed& bed) { bed.vm1().since_change = {.untaken = 3}; }},
    {"vm-sends-nothing", "port vm1", [](Bed& bed) { bed.vm1().since_change.received = 0; }, "--port vm1"},
    {"vm-second-connection", "port vm1", [](Bed& bed) { bed.vm1().recent.refused_connections = 3; }},
    {"vmm-messages-refused", "port vm1", [](Bed& bed) { bed.vm1().recent.refused_messages = 1; }},
    {"vm-spoofs", "port vm1", [](Bed& bed) { bed.vm1().recent.spoofed = 5; }},
    {"vm-over-budget", "port vm1", [](Bed& bed) { bed.vm1().recent.over_budget = 5; }},
};

const std::vector<Planted> kNetworkFaults{
    {"subnet-on-route", "network default",
     [](Bed& bed) { bed.add_route(prefix(192, 168, 0, 0, 16), "eth0"); }, "ip route show 192.168.0.0/16"},
    {"libvirt-network-up", "network default",
     [](Bed& bed) { bed.add_route(prefix(192, 168, 122, 1, 32), "virbr0", true); },
     "virsh net-destroy default"},
    {"dns-port-taken", "network default",
     [](Bed& bed) {
       bed.is_live = false;
       bed.host.dns_listeners = {Ipv4Addr{}};
     }},
    {"dns-port-taken", "network default",
     [](Bed& bed) {
       bed.live.networks_without_dns = {"default"};
       bed.host.dns_listeners = {Ipv4Addr::of(192, 168, 122, 1)};
     }},
    {"dns-program-missing", "network default", [](Bed& bed) { bed.host.has_dnsmasq = false; }},
    {"apparmor-dnsmasq", "network default", [](Bed& bed) { bed.host.has_apparmor_for_dnsmasq = true; }},
    {"resolver-on-loopback", "network default",
     [](Bed& bed) {
       bed.is_live = false;
       bed.host.resolvers.clear();
     }},
    {"resolver-on-loopback", "network default", [](Bed& bed) { bed.live.resolver_problem = "none"; }},
    {"dhcp-pool-nearly-used", "network default", [](Bed& bed) { bed.live.pools.front().leased = 227; }},
    {"sessions-refused", "sessions", [](Bed& bed) { bed.live.recent_refusals = 1; }},
    {"uplink-down", "uplink", [](Bed& bed) { bed.live.uplink.is_up = false; }},
    {"uplink-dead", "uplink wan2",
     [](Bed& bed) {
       bed.config.uplinks = {config::NamedUplink{bed.config.uplink, "wan1", {}, {}},
                             config::NamedUplink{bed.config.uplink, "wan2", {}, {}}};
       bed.live.dead_uplinks = {{"wan2", "it has no link"}};
     },
     "vmnatctl uplinks"},
    {"uplink-no-lease", "uplink", [](Bed& bed) { bed.live.uplink.waits_for_lease = true; }},
    {"gateway-silent", "uplink", [](Bed& bed) { bed.live.uplink.is_gateway_known = false; }},
    {"uplink-address-on-host", "uplink",
     [](Bed& bed) { bed.add_route(prefix(203, 0, 113, 2, 32), "eth0", true); },
     "ip address del 203.0.113.2/32 dev eth0"},
    {"uplink-address-claimed", "uplink", [](Bed& bed) { bed.live.uplink.recent_conflicts = 1; }},
    {"uplink-forwarded-by-host", "uplink",
     [](Bed& bed) {
       bed.host.interfaces["eth1"].forwards = true;
       bed.add_route(prefix(0, 0, 0, 0, 0), "eth0");
     },
     "net.ipv4.conf.eth1.forwarding=0"},
};

std::vector<Planted> all_planted() {
  std::vector<Planted> all;
  for (const auto* some : {&kControlFaults, &kMachineFaults, &kDeviceFaults, &kVmFaults, &kNetworkFaults})
    all.insert(all.end(), some->begin(), some->end());
  return all;
}

// A directory that goes with the test.
class Scratch {
 public:
  Scratch() {
    char name[] = "/tmp/vmnat-doctor-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~Scratch() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name) << text;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

std::vector<std::string> ids_of(const std::vector<Finding>& findings) {
  std::vector<std::string> ids;
  for (const Finding& finding : findings) ids.emplace_back(finding.row->id);
  return ids;
}

TEST(Doctor, FindsNothingWhereAllIsWell) {
  EXPECT_THAT(Bed{}.ids(), IsEmpty());
}

TEST(Doctor, FindsNothingWhereNoVmnatdRunsAndAllIsWell) {
  Bed bed;
  bed.is_live = false;
  EXPECT_THAT(bed.ids(), IsEmpty());
}

TEST(Doctor, FindsEachPlantedFaultAndNothingBesides) {
  for (const Planted& planted : all_planted()) {
    SCOPED_TRACE(planted.id);
    Bed bed;
    planted.plant(bed);
    EXPECT_THAT(bed.ids(), ElementsAre(planted.id));
    for (const Finding& finding : bed.found()) {
      EXPECT_EQ(finding.object, planted.object);
      EXPECT_FALSE(finding.seen.empty());
      EXPECT_THAT(finding.mend, HasSubstr(planted.mend));
    }
  }
}

// What is found where there is no vmnatd is planted in the tests below; a token in clear is one with open metrics.
TEST(Doctor, PlantsEveryRow) {
  std::set<std::string_view> planted{"daemon-not-running", "daemon-silent", "config-invalid",
                                     "token-in-clear"};
  for (const Planted& fault : all_planted()) planted.insert(fault.id);
  for (const Section& section : kSections)
    for (const Row& row : section.rows)
      EXPECT_TRUE(planted.contains(row.id)) << row.id << " is never planted";
}

TEST(Doctor, HasEachIdOnceAndInKebabCase) {
  std::set<std::string_view> ids;
  for (const Section& section : kSections)
    for (const Row& row : section.rows) {
      EXPECT_TRUE(ids.insert(row.id).second) << row.id;
      EXPECT_EQ(row.id.find_first_not_of("abcdefghijklmnopqrstuvwxyz-"), row.id.npos) << row.id;
    }
}

TEST(Doctor, TellsOfATokenThatCrossesANetwork) {
  Bed bed;
  bed.config.control.metrics->address = Ipv4Addr::of(192, 0, 2, 1);
  bed.config.control.token_file = "/etc/vmnat/token";
  EXPECT_THAT(bed.ids(), ElementsAre("metrics-open", "token-in-clear"));
}

TEST(Doctor, PutsTheWorstFirst) {
  Bed bed;
  bed.host.is_clock_synchronised = false;       // a note
  bed.live.recent_refusals = 1;                 // a warning
  bed.live.uplink.is_up = false;                // an error
  bed.host.unknown_accounts = {"group vmnat"};  // another, of an earlier row
  EXPECT_THAT(bed.ids(),
              ElementsAre("admin-group-unknown", "uplink-down", "sessions-refused", "clock-unsynchronised"));
}

TEST(Doctor, LeavesVmsTimeToStart) {
  Bed bed;
  bed.vm1().since_change.received = 0;
  bed.vm1().unchanged = std::chrono::seconds{29};
  EXPECT_THAT(bed.ids(), IsEmpty());
  bed.vm1().attachment = Attachment::NoMemory;
  bed.vm1().unchanged = std::chrono::seconds{2};
  EXPECT_THAT(bed.ids(), IsEmpty());
}

TEST(Doctor, TellsTheFeaturesOfASilentVm) {
  Bed bed;
  bed.vm1().since_change.received = 0;
  EXPECT_THAT(bed.found().at(0).seen, HasSubstr("features: csum, version_1"));
}

TEST(Doctor, TakesNoRouteOfTheNetworksOwnHostForAClash) {
  Bed bed;
  bed.add_route(prefix(192, 168, 122, 0, 24), "vmnat0");
  bed.add_route(prefix(0, 0, 0, 0, 0), "eth0");
  EXPECT_THAT(bed.ids(), IsEmpty());
}

TEST(Doctor, MindsNoKernelThatForwardsWhatIsForAnotherMac) {
  Bed bed;
  bed.host.interfaces["eth1"].forwards = true;
  bed.add_route(prefix(0, 0, 0, 0, 0), "eth0");
  bed.config.uplink.mac = net::parse_mac("52:54:00:00:00:01");
  EXPECT_THAT(bed.ids(), IsEmpty());
}

TEST(Doctor, LetsKernelDriversKeepNicsThatDpdkSharesWithThem) {
  Bed bed;
  bed.nic().driver = "mlx5_core";
  EXPECT_THAT(bed.ids(), IsEmpty());
}

TEST(Doctor, SaysWithoutVmnatdThatItDoesNotRun) {
  const Scratch scratch;
  const std::string file = scratch.file("vmnat.yaml", "networks: []\n");
  const auto found = ids_of(examine_offline({Offline::Why::NotRunning, "nobody answers", file}));
  EXPECT_EQ(found.at(0), "daemon-not-running");
  const auto silent = ids_of(examine_offline({Offline::Why::Silent, "no answer", file}));
  EXPECT_EQ(silent.at(0), "daemon-silent");
}

TEST(Doctor, TellsEachProblemOfTheFile) {
  const Scratch scratch;
  const std::string file = scratch.file("vmnat.yaml", "uplink: {device: eth0, adress: dhcp}\nnetworks: 7\n");
  const auto found = examine_offline({Offline::Why::NotAsked, "", file});
  ASSERT_GE(found.size(), 2u);
  for (const Finding& finding : found) EXPECT_EQ(finding.row->id, "config-invalid");
  EXPECT_THAT(found.at(0).seen, HasSubstr("vmnat.yaml:1:"));
  EXPECT_EQ(found.at(0).mend, "vmnatd --check --config " + file + "    # until it says nothing");
}

TEST(Doctor, SpeaksJson) {
  Bed bed;
  bed.live.uplink.is_up = false;
  const nlohmann::json json = to_json(bed.found().at(0));
  EXPECT_EQ(json["id"], "uplink-down");
  EXPECT_EQ(json["severity"], "error");
  EXPECT_EQ(json["object"], "uplink");
  EXPECT_EQ(json["seen"], "eth1 has no link");
  EXPECT_EQ(json["mend"], "vmnatctl status; ip link show eth1");
  EXPECT_EQ(json.size(), 6u);
}

TEST(Doctor, ThePageIsWhatTheRowsSay) {
  std::ifstream file(VMNAT_DOCTOR_PAGE);
  const std::string page(std::istreambuf_iterator<char>(file), {});
  EXPECT_EQ(page, doctor_page()) << "write docs/doctor.md anew: ninja -C build doctor_page";
}

}  // namespace
}  // namespace vmnat::doctor
