// SPDX-License-Identifier: Apache-2.0
// A gateway that runs, with a worker on a thread of its own, and goes over to other configurations: ports that come,
// leave and change places, and what is left of a change that cannot be made: nothing.
#include <chrono>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <rte_ethdev.h>

#include "control/gateway/gateway.h"
#include "tests/support/config_text.h"
#include "tests/support/temp_dir.h"

namespace vmnat::control {
namespace {

namespace fs = std::filesystem;

class Reconfiguration : public testing::Test {
 protected:
  // `networks`: elements of the list.
  [[nodiscard]] config::Config with(const std::string& networks) const {
    const auto loaded = config::load_text(
        "dataplane: {memory: 64M, hugepages: off}\n"
        "uplink: {device: \"net_null0,no-rx=1\", address: 203.0.113.2/24, gateway: 203.0.113.1}\n"
        "networks: [" +
        networks + "]\nconntrack: {sessions: 4096, survive_restart: false}\nvhost_user: {directory: " +
        directory_ / "vms" + "}\ncontrol: {socket: " + directory_ / "vmnat.sock" +
        ", state_dir: " + directory_ / "state" + "}\n");
    EXPECT_TRUE(loaded) << (loaded ? "" : to_string(loaded.error().front()));
    return *loaded;
  }
  static std::string red(const std::string& ports) {
    return "{name: red, address: 192.168.122.1/24, ports: [" + ports + "]}";
  }
  [[nodiscard]] static std::string vm(const std::string& name, const std::string& more = "") {
    return "{name: " + name + ", vhost_user: " + name + ".sock, mode: server" + more + "}";
  }

  // Started once, with the memory that with() says.
  static const EalPlan& eal(const config::Config& config) {
    static const EalPlan eal = [&] {
      const auto plan = plan_eal(config, this_machine(config));
      EXPECT_TRUE(plan && start_eal(*plan));
      return *plan;
    }();
    return eal;
  }
  void start(const config::Config& config) {
    auto started = Gateway::start(config, eal(config));
    ASSERT_TRUE(started) << to_string(started.error());
    gateway_ = *std::move(started);
  }
  // An Error of either step.
  Result<TopologyChange> go_over_to(const config::Config& config) {
    auto plan = gateway_->plan(config);
    if (!plan) return tl::unexpected(plan.error());
    return gateway_->reconfigure(*std::move(plan));
  }
  [[nodiscard]] bool has_socket(const std::string& vm) const {
    return fs::is_socket(fs::path(directory_ / "vms") / (vm + ".sock"));
  }
  [[nodiscard]] std::optional<PortIndex> number_of(const std::string& vm) const {
    for (std::size_t port = 0; port < gateway_->ports().size(); ++port)
      if (gateway_->ports()[port].exists && gateway_->ports()[port].name == vm)
        return static_cast<PortIndex>(port);
    return std::nullopt;
  }
  [[nodiscard]] const dataplane::ForwardingState& state() const { return gateway_->states().current(); }
  // The number of a network that is there.
  [[nodiscard]] std::optional<std::size_t> network_number(const std::string& name) const {
    const auto& networks = gateway_->config().networks;
    const auto found = std::ranges::find(networks, name, &config::Network::name);
    if (found == networks.end()) return std::nullopt;
    return static_cast<std::size_t>(found - networks.begin());
  }

  TempDir directory_;
  std::unique_ptr<Gateway> gateway_;
};

TEST_F(Reconfiguration, APortThatComesIsTheNetworksOnceTheWorkerHasSeenItAndOneThatLeavesIsGone) {
  start(with(red(vm("vm1") + ", " + vm("vm2"))));
  const auto vm1 = number_of("vm1"), vm2 = number_of("vm2");
  const auto change = go_over_to(with(red(vm("vm1") + ", " + vm("vm3"))));
  ASSERT_TRUE(change) << to_string(change.error());
  EXPECT_EQ(change->ports_left, std::vector{*vm2});
  EXPECT_EQ(number_of("vm1"), vm1) << "who stays keeps its number";
  ASSERT_TRUE(number_of("vm3"));
  EXPECT_NE(number_of("vm3"), vm2) << "the number of who left is not free yet";
  EXPECT_EQ(state().networks[0].ports, (std::vector{*vm1, *number_of("vm3")}));
  EXPECT_GE(gateway_->workers().least_seen_generation(), state().generation);
  EXPECT_TRUE(has_socket("vm1"));
  EXPECT_FALSE(has_socket("vm2"));
  EXPECT_TRUE(has_socket("vm3"));
  EXPECT_EQ(gateway_->devices().find(*vm2), nullptr);
}

TEST_F(Reconfiguration, OfAChangeWhoseLastPortCannotBeOpenedNothingHasHappened) {
  start(with(red(vm("vm1"))));
  const auto generation = state().generation;
  fs::create_directory(fs::path(directory_ / "vms") / "vm3.sock");  // in its way
  const auto change = go_over_to(with(red(vm("vm2") + ", " + vm("vm3"))));
  ASSERT_FALSE(change);
  EXPECT_NE(to_string(change.error()).find("vm3"), std::string::npos) << to_string(change.error());
  EXPECT_EQ(state().generation, generation);
  EXPECT_TRUE(number_of("vm1"));
  EXPECT_FALSE(number_of("vm2"));
  EXPECT_TRUE(has_socket("vm1")) << "it does not leave after all";
  EXPECT_FALSE(has_socket("vm2")) << "it was opened, and is closed again";
  EXPECT_EQ(gateway_->config().networks[0].ports.size(), 1u);

  fs::remove(fs::path(directory_ / "vms") / "vm3.sock");
  ASSERT_TRUE(go_over_to(with(red(vm("vm2") + ", " + vm("vm3"))))) << "the next try finds all as it was";
  EXPECT_TRUE(has_socket("vm2") && has_socket("vm3"));
  EXPECT_FALSE(has_socket("vm1"));
}

TEST_F(Reconfiguration, APortWithOtherQueuesTakesTheSocketOfItsFormerSelf) {
  start(with(red(vm("vm1"))));
  const auto before = *number_of("vm1");
  const auto change = go_over_to(with(red(vm("vm1", ", queues: 2"))));
  ASSERT_TRUE(change) << to_string(change.error());
  EXPECT_NE(*number_of("vm1"), before);
  EXPECT_TRUE(has_socket("vm1"));
  EXPECT_EQ(gateway_->devices().find(before), nullptr);
  EXPECT_EQ(gateway_->devices()[*number_of("vm1")].queues(), 2u);
  EXPECT_EQ(state().networks[0].ports, std::vector{*number_of("vm1")});
}

// A port that is a VLAN of a device of DPDK's that receives nothing.
std::string lab(int vlan, const std::string& more = "") {
  return "{name: lab" + std::to_string(vlan) + R"(, device: "net_null7,no-rx=1", vlan: )" +
         std::to_string(vlan) + more + "}";
}
bool has_device() {
  std::uint16_t number = 0;
  return rte_eth_dev_get_port_by_name("net_null7", &number) == 0;
}

TEST_F(Reconfiguration, VlansOfADeviceComeAndGoAndItIsClosedWithTheLastOne) {
  start(with(red(lab(10) + ", " + lab(11))));
  const auto lab10 = *number_of("lab10"), lab11 = *number_of("lab11");
  const auto device = gateway_->devices()[lab10].port_id();
  EXPECT_EQ(gateway_->devices()[lab11].port_id(), device);
  const auto* const trunk = state().ports[lab11].device.trunk;
  ASSERT_NE(trunk, nullptr);
  EXPECT_EQ(
      state().ports[lab10].device,
      (dataplane::BurstPort{.port_id = device, .vlan = 10, .trunk = state().ports[lab11].device.trunk}));

  ASSERT_TRUE(go_over_to(with(red(lab(11) + ", " + lab(12)))));
  EXPECT_EQ(number_of("lab11"), lab11);
  EXPECT_EQ(gateway_->devices().find(lab10), nullptr);
  EXPECT_EQ(state().ports[lab11].device.trunk, trunk) << "the device has stayed";
  EXPECT_EQ(state().ports[*number_of("lab12")].device.trunk, trunk);

  ASSERT_TRUE(go_over_to(with(red(lab(10) + ", " + lab(11, ", mac: 52:54:00:aa:00:01")))));
  EXPECT_EQ(state().ports[*number_of("lab10")].device.trunk, trunk) << "it is back";
  EXPECT_TRUE(has_device());
  ASSERT_TRUE(go_over_to(with(red(vm("vm1")))));
  EXPECT_FALSE(has_device());
  EXPECT_TRUE(go_over_to(with(red(lab(10))))) << "and is opened again";
}

TEST_F(Reconfiguration, ADeviceThatWasOnePortsWithItsQueuesIsOpenedAnewToBeShared) {
  start(with(red(lab(10, ", queues: 2"))));
  const auto before = *number_of("lab10");
  EXPECT_EQ(gateway_->devices()[before].queues(), 2u);
  EXPECT_EQ(state().ports[before].device.trunk, nullptr);
  const auto change = go_over_to(with(red(lab(10) + ", " + lab(11))));
  ASSERT_TRUE(change) << to_string(change.error());
  for (const char* name : {"lab10", "lab11"}) {
    EXPECT_NE(state().ports[*number_of(name)].device.trunk, nullptr) << name;
    EXPECT_EQ(gateway_->devices()[*number_of(name)].queues(), 1u) << name;
  }
}

TEST_F(Reconfiguration, OtherArgumentsOfASharedDeviceAreTakenOnceAllOfItsPortsHaveLeft) {
  start(with(red(lab(10) + ", " + lab(11))));
  const std::string other = R"({name: lab12, device: "net_null7,no-rx=1,size=128", vlan: )";
  const auto change = go_over_to(with(red(other + "12}")));
  ASSERT_FALSE(change);
  EXPECT_EQ(to_string(change.error()),
            "port lab12: net_null7 is still open with other arguments: take away its other ports first");
  EXPECT_TRUE(number_of("lab10") && number_of("lab11")) << "nothing has changed";
  ASSERT_TRUE(go_over_to(with(red(vm("vm1")))));
  EXPECT_TRUE(go_over_to(with(red(other + "12}"))));
}

// Both take the sockets of their former selves. That of vm2 is lost while it changes hands.
TEST_F(Reconfiguration, WhoHadToMakeRoomComesBackWhenAnotherOneCannotBeOpened) {
  start(with(red(vm("vm1") + ", " + vm("vm2"))));
  const auto vm1 = number_of("vm1");
  const fs::path lost = fs::path(directory_ / "vms") / "vm2.sock";
  fs::remove(lost);
  fs::create_directory(lost);
  const std::string two_queues = red(vm("vm1", ", queues: 2") + ", " + vm("vm2", ", queues: 2"));
  ASSERT_FALSE(go_over_to(with(two_queues)));
  EXPECT_EQ(number_of("vm1"), vm1);
  EXPECT_TRUE(has_socket("vm1"));
  EXPECT_EQ(gateway_->devices()[*vm1].queues(), 1u);
  EXPECT_FALSE(state().ports[*vm1 + 1].up);
  EXPECT_FALSE(number_of("vm2")) << "there is no device that it could be";

  fs::remove(lost);
  const auto change = go_over_to(with(red(vm("vm1") + ", " + vm("vm2"))));
  ASSERT_TRUE(change) << to_string(change.error());
  ASSERT_TRUE(number_of("vm2")) << "whatever changes next brings it back";
  EXPECT_TRUE(has_socket("vm2"));
  EXPECT_EQ(state().networks[0].ports, (std::vector{*vm1, *number_of("vm2")}));
}

TEST_F(Reconfiguration, ANetworkThatIsRemovedHasNoPortsNoPolicyAndNoNameAndItsNumberRests) {
  const std::string blue = "{name: blue, address: 10.2.0.1/24, ports: [" + vm("vm2") + "]}";
  start(with(red(vm("vm1")) + ", " + blue));
  const auto number = network_number("blue");
  ASSERT_TRUE(number);
  const auto change = go_over_to(with(red(vm("vm1"))));
  ASSERT_TRUE(change) << to_string(change.error());
  EXPECT_EQ(change->networks_left, std::vector{static_cast<NetworkIndex>(*number)});
  EXPECT_FALSE(network_number("blue"));
  EXPECT_TRUE(state().networks[*number].ports.empty());
  EXPECT_FALSE(state().networks[*number].has_way_out);
  EXPECT_FALSE(has_socket("vm2"));
  ASSERT_TRUE(go_over_to(with(red(vm("vm1")) + ", " + blue)));
  EXPECT_NE(network_number("blue"), number);
  EXPECT_TRUE(has_socket("vm2"));
  EXPECT_GE(state().policies->size(), state().networks.size())
      << "each has one, also before LiveNat has made it";
}

TEST_F(Reconfiguration, CountsOfAPortThatComesBeginAtZeroAndThoseOfWhoStaysGoOn) {
  start(with(red(vm("vm1"))));
  ASSERT_TRUE(go_over_to(with(red(vm("vm1") + ", " + vm("vm2")))));
  std::vector<PortTotals> counted(gateway_->ports().size());
  counted[*number_of("vm1")].rx_packets = 5;
  counted[*number_of("vm2")].rx_packets = 7;
  const auto told = gateway_->port_accounts().told(counted);
  EXPECT_EQ(told[*number_of("vm1")].rx_packets, 5u);
  EXPECT_EQ(told[*number_of("vm2")].rx_packets, 7u);
}

TEST_F(Reconfiguration, WithoutRoomForItsBuffersNoGatewayStartsWhoeverWouldHaveTakenThem) {
  auto config = with(red(vm("vm1")));
  eal(config);
  config.dataplane.memory.bytes = std::uint64_t{2} << 30;  // more than there is
  for (const char* uplink : {"net_null0,no-rx=1", "net_vhost0,iface=uplink.sock"}) {
    config.uplink.device.name = uplink;
    const auto started = Gateway::start(config, eal(config));
    ASSERT_FALSE(started) << uplink;
    EXPECT_EQ(started.error().where, "dataplane.memory") << to_string(started.error());
    EXPECT_FALSE(has_socket("vm1")) << "what was opened is closed";
  }
  start(with(red(vm("vm1"))));
  EXPECT_TRUE(has_socket("vm1")) << "and nothing of it is in the way";
}

// So a line of a log that says `ended` is never before that of its `created`.
TEST_F(Reconfiguration, ATickOfTheWorkersHasOneTimeHoweverLateItIsAskedFor) {
  start(with(red(vm("vm1"))));
  const Workers& workers = gateway_->workers();
  const auto tick = workers.now();
  const auto began = workers.wall_time(tick);
  EXPECT_LE(began, std::chrono::system_clock::now());
  EXPECT_GT(began, std::chrono::system_clock::now() - std::chrono::seconds(10));
  while (workers.now() < tick + 2 * Ticks{1}) EXPECT_EQ(workers.wall_time(tick), began);
  EXPECT_EQ(workers.wall_time(tick + Ticks{1}), began + std::chrono::microseconds(62'500));
  EXPECT_EQ(workers.wall_time(tick - Ticks{16}), began - std::chrono::seconds(1));
}

}  // namespace
}  // namespace vmnat::control
