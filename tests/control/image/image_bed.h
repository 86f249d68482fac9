// SPDX-License-Identifier: Apache-2.0
// A daemon's tables and its image, without devices and workers: what the image's tests share.
//
//   Bed before(kTwoNetworksWithAForward, 1, records_of(image, 1));
//   before.open("vm1", "192.168.122.10", 40000);
//   Bed after(kTwoNetworksWithAForward);
//   after.restore(*read_image(path));
#pragma once

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "control/image/restore.h"
#include "control/image/session_image.h"
#include "control/plan/gateway_plan.h"
#include "control/plan/initial_state.h"
#include "tests/support/config_text.h"
#include "tests/support/session_views.h"

namespace vmnat::control {

inline const std::string kTwoNetworksWithAForward =
    config::kUplink +
    "networks:\n"
    "  - name: default\n"
    "    address: 192.168.122.1/24\n"
    "    ports: [{name: vm1, vhost_user: /tmp/vm1.sock}, {name: vm2, vhost_user: /tmp/vm2.sock}]\n"
    "    nat: {forwards: [{protocol: tcp, port: 8080, to: '192.168.122.10:80'}]}\n"
    "  - name: lab\n"
    "    address: 192.168.5.1/24\n"
    "    ports: [{name: vm3, vhost_user: /tmp/vm3.sock}]\n";

// A directory on a tmpfs that goes with the test.
class MemoryDirectory {
 public:
  MemoryDirectory() {
    std::string pattern = "/dev/shm/vmnat-test-XXXXXX";
    if (mkdtemp(pattern.data()) != nullptr) path_ = pattern;
  }
  MemoryDirectory(const MemoryDirectory&) = delete;
  MemoryDirectory& operator=(const MemoryDirectory&) = delete;
  ~MemoryDirectory() { std::filesystem::remove_all(path_); }
  [[nodiscard]] std::string file(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline Moment moment_at(std::uint64_t seconds) {
  return {.tsc = 1'000'000'000 * seconds,
          .tsc_hz = 1'000'000'000,
          .boot = BootTime{std::chrono::seconds(seconds)},
          .boot_id = "5d6b2a0c-0000-4000-8000-000000000001"};
}

class Bed {
 public:
  static constexpr std::uint32_t kCapacity = 128;

  using Records =
      std::vector<std::span<conntrack::Session>>;  // by worker; none: tables have memory of their own

  explicit Bed(const std::string& text, unsigned workers = 1, const Records& records = {})
      : Bed(config::load_text(text).value(), workers, records) {}
  Bed(const config::Config& config, unsigned workers, const Records& records = {},
      const SessionNames& former = {})
      : config_(config), plan_(plan_gateway(config_, workers)) {
    keep_owners(former, plan_);
    state_ = initial_state(plan_.config, plan_.ports);
    state_.external_addresses = plan_.nat.external;
    state_.policies = std::make_shared<const conntrack::NatPolicies>(plan_.nat.policies);
    ports_ = conntrack::ExternalPorts::create(external_room(state_.external_addresses->size()), workers);
    for (unsigned i = 0; i < workers; ++i)
      tables_.push_back(conntrack::Conntrack::create(
          {.capacity = kCapacity,
           .seed = i + 1,
           .worker = static_cast<WorkerIndex>(i),
           .vm_ports = static_cast<unsigned>(plan_.ports.size()),
           .guests = static_cast<unsigned>(plan_.ports.size()) - 1,
           .placement = {},
           .records = records.empty() ? std::span<conntrack::Session>{} : records[i]},
          *ports_, *state_.external_addresses, *state_.policies));
  }

  [[nodiscard]] SessionNames names() const {
    SessionNames names;
    for (const PortPlan& port : plan_.ports) {
      names.ports.push_back(port.name);
      names.owners.push_back(port.owner);
    }
    for (const config::Network& network : config_.networks) names.networks.push_back(network.name);
    return names;
  }
  [[nodiscard]] PortIndex port(std::string_view name) const {
    const auto found = std::ranges::find(plan_.ports, name, &PortPlan::name);
    return static_cast<PortIndex>(found - plan_.ports.begin());
  }
  // From the VM to 198.51.100.1:443, on the worker that such frames come to.
  conntrack::Session* open(std::string_view vm, std::string_view address, unsigned internal_port,
                           net::Protocol protocol = net::Protocol::Udp, Time now = {}) {
    const net::Endpoint internal{net::parse_ipv4(address).value(),
                                 net::L4Port::from_host(static_cast<std::uint16_t>(internal_port))};
    const bool has_ports = protocol == net::Protocol::Tcp || protocol == net::Protocol::Udp;
    const net::Endpoint remote{net::Ipv4Addr::of(198, 51, 100, 1),
                               net::L4Port::from_host(has_ports ? 443 : 0)};
    conntrack::OutboundFlow flow{.key = conntrack::FlowKey::of(internal, remote, protocol),
                                 .vm_port = port(vm),
                                 .tcp_flags = net::TcpHeader::kSyn};
    if (const auto* pair = state_.pair_of(internal.address)) flow.own_address = pair->external;
    const unsigned network = state_.ports[port(vm)].network;
    const WorkerIndex worker =
        conntrack::port_space(protocol) == conntrack::PortSpace::None
            ? ports_->portless_owner(remote.address)
            : state_.inside_owner(flow.vm_port, internal, static_cast<unsigned>(tables_.size()));
    return tables_[worker]->open_outbound(flow, network, now).session;
  }
  conntrack::Revivals restore(const FormerImage& image, Time now = {}) {
    const SessionNames names = this->names();
    const Today today{names, state_, plan_forwards(config_), *ports_};
    return Restore(image.names(), today, tables_).run(image, now);
  }

  [[nodiscard]] std::vector<conntrack::SessionView> sessions() const {
    std::vector<conntrack::SessionView> all;
    for (const auto& table : tables_) {
      const auto views = conntrack::views_of(*table);
      all.insert(all.end(), views.begin(), views.end());
    }
    return all;
  }
  [[nodiscard]] std::string broken_invariant() const {
    std::string why;
    for (const auto& table : tables_)
      if (!table->check_invariants(&why)) return why;
    return why;
  }
  [[nodiscard]] const conntrack::Conntrack& table(unsigned worker) const { return *tables_[worker]; }

 private:
  config::Config config_;
  GatewayPlan plan_;
  dataplane::ForwardingState state_;
  std::unique_ptr<conntrack::ExternalPorts> ports_;
  std::vector<std::unique_ptr<conntrack::Conntrack>> tables_;
};

inline Totals some_totals(std::uint64_t received = 120) {
  return {.counters = {{"received", received}, {"transmitted", 100}},
          .columns = {"rx_packets", "tx_packets"},
          .ports = {{"uplink", {received / 2, 50}}, {"vm1", {received / 2, 50}}}};
}

inline SessionImage new_image(const std::string& path, unsigned workers = 1, std::uint64_t seconds = 100) {
  return SessionImage::create(
             {.path = path},
             {.worker_nodes = std::vector<int>(workers, -1), .capacity = Bed::kCapacity, .start_tsc = 0},
             moment_at(seconds))
      .value();
}
inline Bed::Records records_of(SessionImage& image, unsigned workers) {
  Bed::Records records;
  for (unsigned i = 0; i < workers; ++i) records.push_back(image.records(static_cast<WorkerIndex>(i)));
  return records;
}
inline Result<FormerImage> read_image(const std::string& path, const Moment& now = moment_at(101)) {
  return FormerImage::open(FileDescriptor{open(path.c_str(), O_RDWR | O_CLOEXEC)}, path, now);
}

}  // namespace vmnat::control
