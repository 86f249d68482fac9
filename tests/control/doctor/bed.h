// SPDX-License-Identifier: Apache-2.0
// A machine, a configuration and a running vmnatd that nothing is wrong with: tests plant faults into it.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "control/config/load.h"
#include "control/doctor/examine.h"

namespace vmnat::doctor {

inline constexpr const char* kConfiguration = R"(
dataplane: {workers: [2], control_cpu: 0, memory: 512M}
uplink: {device: eth1, address: 203.0.113.2/24, gateway: 203.0.113.1}
networks:
  - name: default
    address: 192.168.122.1/24
    host: {interface: vmnat0, services: []}
    ports:
      - {name: vm1, vhost_user: /run/vmnat/vm1.sock, mode: client}
      - {name: vm2, vhost_user: /run/vmnat/vm2.sock, mode: server}
      - {name: lab0, device: veth0}
    dhcp: {ranges: [192.168.122.2-192.168.122.254], dns: host}
    dns: {hosts: {gw: 192.168.122.1}}
control: {group: vmnat, metrics: "127.0.0.1:9469"}
)";

struct Bed {
  config::Config config;
  HostFacts host;
  LiveFacts live;
  bool is_live = true;

  Bed() {
    config::LoadOptions options;
    options.resolvers = [] { return std::vector{net::Ipv4Addr::of(9, 9, 9, 9)}; };
    config = config::load_config_text(kConfiguration, "vmnat.yaml", options).value();
    set_up_machine();
    set_up_interfaces();
    set_up_sockets();
    live.worker_cpus = {2};
    live.uses_hugepages = true;
    live.ports = {port("vm1"), port("vm2")};
    live.pools = {{.network = "default", .addresses = 252, .leased = 2}};
    live.uplink.is_up = true;
    live.uplink.gateway = net::Ipv4Addr::of(203, 0, 113, 1);
    live.external_addresses = {net::Ipv4Addr::of(203, 0, 113, 2)};
  }

  config::Network& network() { return config.networks.front(); }
  config::VmPort& port_of(std::size_t index) { return network().ports[index]; }
  SocketFacts& socket(const char* name) {
    return host.sockets.at("/run/vmnat/" + std::string{name} + ".sock");
  }
  LivePort& vm1() { return live.ports.front(); }
  // The uplink becomes a NIC of DPDK's that all is well with.
  PciFacts& nic() {
    config.uplink.device.name = "3b:00.0";
    return host.pci["0000:3b:00.0"] = {.is_there = true, .driver = "vfio-pci", .group = 7, .node = 0};
  }
  VmmFacts& vmm(const char* name, bool listens) {
    auto& vmms = host.vmms["/run/vmnat/" + std::string{name} + ".sock"];
    vmms.push_back({.process = "qemu-system-x86_64 (4711)", .listens = listens, .shares_memory = true});
    return vmms.back();
  }
  void add_route(net::Ipv4Prefix to, const char* interface, bool is_own = false) {
    host.routes.push_back({.to = to, .interface = interface, .is_own_address = is_own});
  }

  [[nodiscard]] std::vector<Finding> found() const {
    return examine({.config = config, .host = host, .live = is_live ? &live : nullptr});
  }
  [[nodiscard]] std::vector<std::string> ids() const {
    std::vector<std::string> ids;
    for (const Finding& finding : found()) ids.emplace_back(finding.row->id);
    return ids;
  }

 private:
  static LivePort port(const char* name) {
    LivePort facts;
    facts.name = name;
    facts.socket = "/run/vmnat/" + facts.name + ".sock";
    facts.is_up = true;
    facts.attachment = Attachment::Attached;
    facts.unchanged = std::chrono::hours{1};
    facts.since_change.received = 100;
    facts.features = {"csum", "version_1"};
    return facts;
  }
  void set_up_machine() {
    host.kernel = {6, 1};
    for (unsigned cpu = 0; cpu < 4; ++cpu)
      host.cpus[cpu] = {.is_online = true,
                        .is_allowed = true,
                        .is_isolated = true,
                        .is_tickless = true,
                        .governor = "performance",
                        .siblings = {cpu},
                        .node = 0};
    host.memory.free_hugepage_bytes = std::uint64_t{2} << 30;
    host.memory.available = std::uint64_t{8} << 30;
    host.memory.map_count = 65530;
    host.user = "root";
    host.state_dir = {.is_there = true};
    host.resolvers = {net::Ipv4Addr::of(9, 9, 9, 9)};
    host.wall_s = 1'800'000'000;
    host.is_clock_synchronised = true;
    host.are_interfaces_known = true;
  }
  void set_up_interfaces() {
    for (const char* name : {"eth1", "veth0"})
      host.interfaces[name].link = {.index = 1,
                                    .name = name,
                                    .is_up = true,
                                    .has_carrier = true,
                                    .mtu = 1500,
                                    .mac = *net::parse_mac("52:54:00:00:00:09"),
                                    .kind = "veth"};
  }
  void set_up_sockets() {
    host.sockets["/run/vmnat/vm1.sock"] = {.exists = true,
                                           .is_socket = true,
                                           .may_connect = true,
                                           .group = 106,
                                           .wanted_group = 106,
                                           .mode = 0755,
                                           .listeners = 1};
    host.sockets["/run/vmnat/vm2.sock"] = {.exists = true,
                                           .is_socket = true,
                                           .may_connect = true,
                                           .group = 106,
                                           .wanted_group = 106,
                                           .mode = 0660,
                                           .listeners = 1};
    host.qemu_users["libvirt-qemu"] = {.is_there = true, .is_in_group = true, .primary_group = "106"};
  }
};

}  // namespace vmnat::doctor
