// SPDX-License-Identifier: Apache-2.0
// What is read of a machine: from a tree of files that stands for "/".
#include "control/doctor/gather.h"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/config/load.h"

namespace vmnat::doctor {
namespace {

namespace fs = std::filesystem;
using net::Ipv4Addr;
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

class GatherTest : public ::testing::Test {
 protected:
  GatherTest() {
    char name[] = "/tmp/vmnat-gather-XXXXXX";
    root_ = mkdtemp(name);
    port_.vhost_user = root_ / "vm1.sock";
    port_.name = "vm1";
    config_.vhost_user.group = "root";
    config_.networks.resize(1);
    config_.networks[0].ports = {port_};
    config_.control.state_dir = root_;
  }
  ~GatherTest() override { fs::remove_all(root_); }

  void write(const std::string& path, std::string_view text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path, std::ios::binary) << text;
  }
  void link(const std::string& path, const std::string& target) {
    fs::create_directories((root_ / path).parent_path());
    fs::create_symlink(target, root_ / path);
  }
  // A process, by its arguments.
  void run(int pid, const std::vector<std::string>& arguments) {
    std::string line;
    for (const std::string& argument : arguments) line += argument + '\0';
    write("proc/" + std::to_string(pid) + "/cmdline", line);
  }
  std::vector<VmmFacts> vmms() {
    HostFacts facts;
    gather_vmms(config_, root_, facts);
    return facts.vmms[port_.vhost_user];
  }

  fs::path root_;
  config::VmPort port_;
  config::Config config_;
};

TEST_F(GatherTest, ReadsCpus) {
  const std::string all = "sys/devices/system/cpu/";
  write(all + "present", "0-3\n");
  write(all + "online", "0-2\n");
  write(all + "isolated", "2\n");
  write(all + "nohz_full", "1-2\n");
  write(all + "cpu2/cpufreq/scaling_governor", "powersave\n");
  write(all + "cpu2/topology/thread_siblings_list", "0,2\n");
  write(all + "cpu2/node1/cpulist", "2\n");
  write("proc/self/status", "Name:\tvmnatd\nCpus_allowed_list:\t0,2\n");
  write("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n");
  HostFacts facts;
  gather_cpus(root_, facts);
  ASSERT_EQ(facts.cpus.size(), 4u);
  EXPECT_FALSE(facts.cpus[3].is_online);
  EXPECT_FALSE(facts.cpus[1].is_allowed);
  const CpuFacts& cpu = facts.cpus[2];
  EXPECT_TRUE(cpu.is_online && cpu.is_allowed && cpu.is_isolated && cpu.is_tickless);
  EXPECT_EQ(cpu.governor, "powersave");
  EXPECT_THAT(cpu.siblings, ElementsAre(0, 2));
  EXPECT_EQ(cpu.node, 1);
  EXPECT_EQ(facts.kernel, (KernelVersion{6, 1}));
}

TEST_F(GatherTest, ReadsMemoryAndLimits) {
  write("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "3\n");
  write("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
  write("proc/meminfo", "MemTotal:  100 kB\nMemAvailable:    2048 kB\n");
  write("proc/self/status", "CapEff:\t0000000000004000\n");
  write("proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units\n"
        "Max locked memory         65536                unlimited            bytes\n"
        "Max open files            1024                 4096                 files\n");
  write("proc/sys/vm/max_map_count", "1000\n");
  write("proc/sys/vm/overcommit_memory", "2\n");
  HostFacts facts;
  gather_memory(root_, facts);
  const MemoryFacts& memory = facts.memory;
  EXPECT_EQ(memory.free_hugepage_bytes, 3u << 21);
  EXPECT_FALSE(memory.has_transparent_hugepages);
  write("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
  gather_memory(root_, facts);
  EXPECT_TRUE(memory.has_transparent_hugepages);
  EXPECT_EQ(memory.available, 2048u << 10);
  EXPECT_EQ(memory.memlock.soft, 65536u);
  EXPECT_EQ(memory.memlock.hard, UINT64_MAX);
  EXPECT_EQ(memory.files.hard, 4096u);
  EXPECT_TRUE(memory.may_lock);
  EXPECT_EQ(memory.map_count, 1000u);
  EXPECT_EQ(memory.overcommit, 2);
}

TEST_F(GatherTest, CountsHowOftenWorkersAreInterrupted) {
  const std::string status = "proc/self/task/11/status";
  write(status, "Name:\tlcore-worker-1\nCpus_allowed_list:\t1\nnonvoluntary_ctxt_switches:\t7\n");
  write("proc/self/task/10/status", "Name:\tvmnatd\nCpus_allowed_list:\t0\nnonvoluntary_ctxt_switches:\t9\n");
  HostFacts facts;
  gather_preemptions(root_, facts);
  ASSERT_EQ(facts.preemptions.size(), 1u);
  EXPECT_EQ(facts.preemptions[1], 0);
}

TEST_F(GatherTest, ReadsNics) {
  config_.uplink.device.name = "3b:00.0,opt=1";
  config_.networks[0].ports[0].device.name = "0000:5e:00.1";
  write("sys/bus/pci/devices/0000:3b:00.0/numa_node", "1\n");
  link("sys/bus/pci/devices/0000:3b:00.0/driver", "../../drivers/vfio-pci");
  link("sys/bus/pci/devices/0000:3b:00.0/iommu_group", "../../iommu_groups/12");
  write("sys/kernel/iommu_groups/12/name", "vfio-noiommu\n");
  HostFacts facts;
  gather_nics(config_, root_, facts);
  const PciFacts& nic = facts.pci.at("0000:3b:00.0");
  EXPECT_TRUE(nic.is_there);
  EXPECT_EQ(nic.driver, "vfio-pci");
  EXPECT_EQ(nic.group, 12u);
  EXPECT_TRUE(nic.is_noiommu);
  EXPECT_FALSE(nic.may_open_group) << "there is no file for it";
  EXPECT_EQ(nic.node, 1);
  EXPECT_FALSE(facts.pci.at("0000:5e:00.1").is_there);
}

TEST_F(GatherTest, SeesTheLoopbackOfItsNamespace) {
  HostFacts facts;
  gather_interfaces(root_, facts);
  ASSERT_TRUE(facts.are_interfaces_known);
  EXPECT_TRUE(facts.interfaces.contains("lo"));
}

TEST_F(GatherTest, CountsListenersOfASocket) {
  std::ofstream(port_.vhost_user) << "no socket";
  chmod(port_.vhost_user.c_str(), 0640);
  const std::string line =
      "0000000000000000: 00000002 00000000 00010000 0001 01 123 " + port_.vhost_user + "\n";
  const std::string peer =
      "0000000000000000: 00000003 00000000 00000000 0001 03 124 " + port_.vhost_user + "\n";
  write("proc/net/unix", "Num       RefCount Protocol Flags    Type St Inode Path\n" + line + peer + line);
  HostFacts facts;
  gather_sockets(config_, root_, facts);
  const SocketFacts& socket = facts.sockets.at(port_.vhost_user);
  EXPECT_EQ(socket.listeners, 2u);
  EXPECT_TRUE(socket.exists);
  EXPECT_FALSE(socket.is_socket);
  EXPECT_EQ(socket.mode, 0640u);
}

TEST_F(GatherTest, FindsTheVmmOfASocket) {
  const std::string path = port_.vhost_user;
  run(100, {"/usr/bin/qemu-system-x86_64", "-object", "memory-backend-memfd,id=m,size=1G,share=on",
            "-chardev", "socket,id=c,path=" + path + ",server=on,wait=off"});
  run(101, {"qemu-kvm", "-chardev", "socket,id=c,path=" + path + "2,server=on"});
  run(102, {"less", "path=" + path});
  const auto found = vmms();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].process, "qemu-system-x86_64 (100)");
  EXPECT_TRUE(found[0].listens);
  EXPECT_TRUE(found[0].shares_memory);
}

TEST_F(GatherTest, ReadsWhatAVmmDoesNotSay) {
  run(100, {"qemu-system-x86_64", "-m", "1G", "-chardev", "socket,id=c,path=" + port_.vhost_user});
  const auto found = vmms();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_FALSE(found[0].listens);
  EXPECT_FALSE(found[0].shares_memory);
}

TEST_F(GatherTest, ReadsLibvirtsJson) {
  run(100,
      {"qemu-system-x86_64", "-object", R"({"qom-type":"memory-backend-memfd","id":"pc.ram","share":true})",
       "-chardev", "socket,id=c,path=" + port_.vhost_user + ",server"});
  const auto found = vmms();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_TRUE(found[0].listens);
  EXPECT_TRUE(found[0].shares_memory);
}

TEST_F(GatherTest, KnowsWhetherProcessesAreHidden) {
  HostFacts hidden, seen;
  gather_vmms(config_, root_, hidden);
  run(1, {"init"});
  gather_vmms(config_, root_, seen);
  EXPECT_TRUE(hidden.are_processes_hidden);
  EXPECT_FALSE(seen.are_processes_hidden);
}

TEST_F(GatherTest, KnowsWhoServesDns) {
  write("proc/net/udp",
        "  sl  local_address rem_address   st tx_queue rx_queue\n"
        "  12: 017AA8C0:0035 00000000:0000 07 00000000:00000000\n"
        "  13: 0100007F:0043 00000000:0000 07 00000000:00000000\n"
        "  14: 00000000:0035 00000000:0000 07 00000000:00000000\n");
  HostFacts facts;
  gather_services(root_, facts);
  EXPECT_THAT(facts.dns_listeners, UnorderedElementsAre(Ipv4Addr::of(192, 168, 122, 1), Ipv4Addr{}));
}

TEST_F(GatherTest, KnowsResolversThatVmsCanUse) {
  write("etc/resolv.conf", "nameserver 127.0.0.53\n");
  HostFacts facts;
  gather_services(root_, facts);
  EXPECT_THAT(facts.resolvers, ElementsAre());
  write("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.53\n");
  gather_services(root_, facts);
  EXPECT_THAT(facts.resolvers, ElementsAre(Ipv4Addr::of(192, 0, 2, 53)));
}

TEST_F(GatherTest, KnowsAppArmorsProfiles) {
  write("sys/module/apparmor/parameters/enabled", "Y\n");
  write("etc/apparmor.d/libvirt/TEMPLATE.qemu", "profile LIBVIRT_TEMPLATE {}\n");
  write("etc/apparmor.d/usr.sbin.dnsmasq", "profile dnsmasq /usr/sbin/dnsmasq {}\n");
  HostFacts facts;
  gather_services(root_, facts);
  EXPECT_TRUE(facts.has_apparmor_for_libvirt);
  EXPECT_TRUE(facts.has_apparmor_for_dnsmasq);
  EXPECT_FALSE(facts.is_tun_usable) << "there is no file for it";
  write("etc/apparmor.d/usr.sbin.dnsmasq", "profile dnsmasq /usr/sbin/dnsmasq flags=(complain) {}\n");
  gather_services(root_, facts);
  EXPECT_FALSE(facts.has_apparmor_for_dnsmasq);
  write("sys/module/apparmor/parameters/enabled", "N\n");
  gather_services(root_, facts);
  EXPECT_FALSE(facts.has_apparmor_for_libvirt);
}

TEST_F(GatherTest, LooksAtTheStateDirectory) {
  HostFacts there, absent, impossible;
  gather_state_directory(config_, there);
  EXPECT_TRUE(there.state_dir.is_there && there.state_dir.is_writable);
  EXPECT_GT(there.state_dir.free_bytes, 0u);
  config_.control.state_dir = root_ / "a/b";
  gather_state_directory(config_, absent);
  EXPECT_FALSE(absent.state_dir.is_there);
  EXPECT_TRUE(absent.state_dir.may_be_created);
  write("file", "");
  config_.control.state_dir = root_ / "file/b";
  gather_state_directory(config_, impossible);
  EXPECT_FALSE(impossible.state_dir.is_there || impossible.state_dir.may_be_created);
}

TEST_F(GatherTest, KnowsAccountsThatThereAreNot) {
  config_.control.group = "vmnat-no-such-group";
  config_.control.admins = {"root", "vmnat-no-such-user"};
  HostFacts facts;
  gather_accounts(config_, facts);
  EXPECT_THAT(facts.unknown_accounts, ElementsAre("group vmnat-no-such-group", "user vmnat-no-such-user"));
}

}  // namespace
}  // namespace vmnat::doctor
