// SPDX-License-Identifier: Apache-2.0
// DHCP in the daemon's terms: frames by port in, replies and notes out; the disk, the clocks, who claims
// what.
#include "control/dhcp/dhcp_service.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <set>
#include <sstream>
#include <sys/resource.h>

#include "net/arp.h"
#include "tests/dhcp/request_frame.h"

namespace vmnat::control {
namespace {

using dhcp::LeaseState;
using dhcp::MessageType;
using dhcp::Option;
using dhcp::test::ip;
using dhcp::test::mac;
using dhcp::test::mac_number;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr PortIndex kVm1 = 1, kVm2 = 2, kLab = 3;
const net::Ipv4Addr kGateway = ip("192.168.122.1");
const net::MacAddr kGatewayMac = mac("52:54:00:00:01:01");

// Files may have no more than this many bytes while it lives: the disk is full.
class FullDisk {
 public:
  explicit FullDisk(std::size_t most) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit tight{most, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &tight);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;
  ~FullDisk() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  void (*handler_)(int);
  rlimit before_{};
};

struct Answer {
  MessageType type;
  net::Ipv4Addr address;
  net::MacAddr client;
  net::Endpoint to;
};

struct DhcpServiceTest : testing::Test {
  void SetUp() override {
    std::string name = testing::TempDir() + "vmnat-dhcp-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory = name;
    config.uplink.address = net::Ipv4Prefix{ip("203.0.113.2"), 24};
    config.control.state_dir = directory;
    config::Dhcp dhcp{.ranges = {{ip("192.168.122.100"), ip("192.168.122.199")}}};
    dhcp.check_before_offer = false;
    config.networks = {
        {.name = "default",
         .address = {kGateway, 24},
         .mac = kGatewayMac,
         .ports = {{.name = "vm1", .vhost_user = "/1"},
                   {.name = "vm2", .vhost_user = "/2"},
                   {.name = "lab", .device = "veth0", .guard = config::PortGuard::Off, .relay = true}},
         .dhcp = dhcp}};
    start();
  }
  void TearDown() override { std::filesystem::remove_all(directory); }

  void start() {
    ports = plan_ports(config, 1);
    service.emplace(config, ports, places.emplace(ports), wall, steady);
  }
  void pass(std::chrono::nanoseconds time) {
    wall += time;
    steady += time;
    service->advance(wall, steady);
  }
  void give(PortIndex port, const dhcp::test::RequestFrame& request) {
    service->receive(request.frame(), port, wall, steady);
  }
  std::vector<Answer> answers() {
    std::vector<Answer> all;
    const auto committed = service->commit();
    for (const auto& [port, frame] : committed.replies) {
      const auto parsed = dhcp::parse_frame(frame);
      const auto& datagram = std::get<dhcp::Datagram>(parsed);
      const auto message = dhcp::parse_message(datagram.payload).value();
      all.push_back({*message.type(), message.header.yiaddr, message.header.chaddr, datagram.destination});
    }
    return all;
  }
  std::optional<Answer> ask(PortIndex port, const dhcp::test::RequestFrame& request) {
    give(port, request);
    const auto all = answers();
    return all.empty() ? std::nullopt : std::optional(all.front());
  }
  static dhcp::test::RequestFrame discover(net::MacAddr client) {
    return dhcp::test::request_of(MessageType::Discover, client, ++xid);
  }
  static dhcp::test::RequestFrame selecting(net::MacAddr client, net::Ipv4Addr address) {
    return dhcp::test::request_of(MessageType::Request, client, ++xid)
        .with(Option::ServerId, kGateway)
        .with(Option::RequestedAddress, address);
  }
  net::Ipv4Addr acquire(PortIndex port, net::MacAddr client) {
    const auto offer = ask(port, discover(client));
    if (!offer) return {};
    const auto ack = ask(port, selecting(client, offer->address));
    return ack && ack->type == MessageType::Ack ? ack->address : net::Ipv4Addr{};
  }
  LeaseState state_of(net::Ipv4Addr address) const {
    for (const auto& [network, leases] : service->leases())
      for (const dhcp::Lease& lease : leases)
        if (lease.address == address) return lease.state;
    return LeaseState::Reserved;
  }
  std::size_t journal_size() const {
    return std::filesystem::file_size(directory + "/leases-default.journal");
  }

  static inline std::uint32_t xid = 0;
  std::string directory;
  config::Config config;
  std::vector<PortPlan> ports;
  std::optional<VmPlaces> places;
  dhcp::WallTime wall = dhcp::test::at_second(0);
  SteadyTime steady{std::chrono::hours(1)};
  std::optional<DhcpService> service;
};

TEST_F(DhcpServiceTest, AStepOfTheWallClockEndsNoLeaseAndProlongsNone) {
  const auto address = acquire(kVm1, mac_number(1));
  for (const seconds step :
       {seconds(std::chrono::hours(24)), seconds(-3 * std::chrono::hours(24)), seconds(1'700'000'000)}) {
    wall += step;
    pass(seconds(600));
    EXPECT_EQ(state_of(address), LeaseState::Bound) << step.count();
  }
  const dhcp::Lease& lease = *service->leases_through(kVm1).at(0);
  EXPECT_EQ(lease.expires, wall + seconds(1800)) << "by the clock that others read";
  pass(seconds(1799));
  EXPECT_EQ(state_of(address), LeaseState::Bound);
  pass(seconds(1));
  EXPECT_EQ(state_of(address), LeaseState::Expired);
}

// The steady clock stands still meanwhile, and so do the VMs and their clients' clocks.
TEST_F(DhcpServiceTest, ASuspendEndsNoLeaseAndItsEndIsTheWokenClocks) {
  config.networks[0].dhcp->lease_time = std::chrono::minutes(10);
  start();
  const auto address = acquire(kVm1, mac_number(1));
  pass(seconds(60));
  wall += std::chrono::hours(1);
  pass(milliseconds(2));
  EXPECT_EQ(state_of(address), LeaseState::Bound);
  EXPECT_NE(ask(kVm2, discover(mac_number(2)).with(Option::RequestedAddress, address))->address, address);
  EXPECT_EQ(service->leases_through(kVm1).at(0)->expires, wall - milliseconds(2) + seconds(540));
  pass(seconds(539));
  EXPECT_EQ(state_of(address), LeaseState::Bound);
  pass(seconds(1));
  EXPECT_EQ(state_of(address), LeaseState::Expired);
}

TEST_F(DhcpServiceTest, ExportsFollowAStepOfTheWallClock) {
  const std::string file = directory + "/dnsmasq.leases";
  config.networks[0].dhcp->exports.dnsmasq = file;
  start();
  acquire(kVm1, mac_number(1));
  const auto exported_end = [&] {
    pass(seconds(2));
    std::int64_t end = 0;
    std::ifstream(file) >> end;
    return dhcp::WallTime{seconds(end)};
  };
  auto end = exported_end();
  for (const seconds step : {seconds(std::chrono::hours(24)), -seconds(std::chrono::hours(48))}) {
    wall += step;
    end += step;
    EXPECT_EQ(exported_end(), end) << step.count();
  }
}

TEST_F(DhcpServiceTest, AStepIsNoticedByTheFirstFrameThatComesAfterIt) {
  const auto address = acquire(kVm1, mac_number(1));
  wall += std::chrono::hours(24);
  EXPECT_NE(ask(kVm2, discover(mac_number(2)).with(Option::RequestedAddress, address))->address, address);
}

TEST_F(DhcpServiceTest, TheJournalFollowsAStepSoARestartAfterItKeepsTheLeases) {
  wall = dhcp::WallTime{seconds(1000)};  // 1970: no battery
  start();
  const auto address = acquire(kVm1, mac_number(1));
  wall += seconds(1'700'000'000);
  pass(milliseconds(2));
  start();
  EXPECT_EQ(state_of(address), LeaseState::Bound);
}

TEST_F(DhcpServiceTest, LeasesReadBeforeTheClockIsSetOutliveThatItIsSet) {
  const auto address = acquire(kVm1, mac_number(1));
  const auto now = wall;
  wall = dhcp::WallTime{seconds(1000)};
  start();
  EXPECT_EQ(state_of(address), LeaseState::Bound);
  wall = now;
  pass(seconds(3599));
  EXPECT_EQ(state_of(address), LeaseState::Bound);
  pass(seconds(1));
  EXPECT_EQ(state_of(address), LeaseState::Expired) << "nothing lasts longer than if it began at the restart";
}

TEST_F(DhcpServiceTest, OnAFullDiskDhcpGoesOnFromMemoryAndSaysSoAndWritesWhatWaitsLater) {
  const auto kept = acquire(kVm1, mac_number(1)), given_up = acquire(kVm1, mac_number(3)),
             declined = acquire(kVm1, mac_number(4));
  net::Ipv4Addr fresh;
  EXPECT_TRUE(service->notes().empty());
  {
    const FullDisk full(journal_size() + 10);
    EXPECT_EQ(ask(kVm1, selecting(mac_number(1), kept))->type, MessageType::Ack) << "a renewal";
    auto release =
        dhcp::test::request_of(MessageType::Release, mac_number(3), 1).with(Option::ServerId, kGateway);
    release.header.ciaddr = given_up;
    give(kVm1, release);
    give(kVm1, dhcp::test::request_of(MessageType::Decline, mac_number(4), 1)
                   .with(Option::ServerId, kGateway)
                   .with(Option::RequestedAddress, declined));
    fresh = acquire(kVm2, mac_number(2));
    EXPECT_FALSE(fresh.is_unspecified()) << "a new lease";
    EXPECT_EQ(ask(kVm2, selecting(mac_number(2), ip("10.0.0.1")))->type, MessageType::Nak);
    ASSERT_EQ(service->notes().size(), 1u);
    EXPECT_EQ(
        service->notes()[0].find("leases of network default given or changed since 2023-11-14T22:13:20Z will "
                                 "not survive a restart: " +
                                 directory),
        0u)
        << service->notes()[0];
    pass(seconds(5));
    EXPECT_EQ(service->journal_waiting(), 4u);
    EXPECT_GE(service->journal_failures(), 2u);
  }
  pass(seconds(2));
  EXPECT_TRUE(service->notes().empty());
  EXPECT_EQ(service->journal_waiting(), 0u);
  start();
  EXPECT_EQ(state_of(kept), LeaseState::Bound);
  EXPECT_EQ(state_of(fresh), LeaseState::Bound);
  EXPECT_EQ(state_of(given_up), LeaseState::Released);
  EXPECT_EQ(state_of(declined), LeaseState::Declined);
}

TEST_F(DhcpServiceTest, AStartOnAFullDiskForgetsNoLease) {
  const auto address = acquire(kVm1, mac_number(1));
  const FullDisk full(20);
  start();
  EXPECT_EQ(state_of(address), LeaseState::Bound);
  EXPECT_NE(ask(kVm2, discover(mac_number(2)).with(Option::RequestedAddress, address))->address, address);
  EXPECT_FALSE(acquire(kVm2, mac_number(4)).is_unspecified());
  EXPECT_EQ(service->notes().size(), 1u);
}

TEST_F(DhcpServiceTest, AStateDirectoryThatCannotBeHasANoteAndIsTriedAgain) {
  config.control.state_dir = directory + "/file/state";
  { std::ofstream(directory + "/file") << "in the way"; }
  start();
  EXPECT_EQ(service->notes().size(), 1u);
  const auto address = acquire(kVm1, mac_number(1));
  EXPECT_FALSE(address.is_unspecified());
  std::filesystem::remove(directory + "/file");
  std::filesystem::create_directories(config.control.state_dir);
  pass(seconds(2));
  EXPECT_TRUE(service->notes().empty());
  start();
  EXPECT_EQ(state_of(address), LeaseState::Bound);
}

TEST_F(DhcpServiceTest, AnExportThatCouldNotBeWrittenIsWrittenWhenItCan) {
  const std::string file = directory + "/exports/dnsmasq.leases";
  config.networks[0].dhcp->exports.dnsmasq = file;
  start();
  const auto address = acquire(kVm1, mac_number(1));
  pass(seconds(2));
  EXPECT_FALSE(std::filesystem::exists(file));
  ASSERT_EQ(service->notes().size(), 1u);
  EXPECT_EQ(service->notes()[0].find("leases are not exported: " + file), 0u) << service->notes()[0];
  std::filesystem::create_directory(directory + "/exports");
  pass(seconds(2));
  EXPECT_TRUE(service->notes().empty());
  std::stringstream text;
  text << std::ifstream(file).rdbuf();
  EXPECT_NE(text.str().find(net::to_string(address)), std::string::npos) << text.str();
}

TEST_F(DhcpServiceTest, RelaysAreHeededWhereThePortMayRelay) {
  auto relayed = discover(mac_number(7));
  relayed.header.giaddr = ip("192.168.122.9");
  EXPECT_FALSE(ask(kVm2, relayed));
  EXPECT_EQ(service->ignored_from(kVm2)[static_cast<std::size_t>(dhcp::Ignored::NoRelay)], 1u);
  const auto offer = ask(kLab, relayed);
  ASSERT_TRUE(offer);
  EXPECT_EQ(offer->to, (net::Endpoint{ip("192.168.122.9"), dhcp::kServerPort}));
}

TEST_F(DhcpServiceTest, APortsLeasesAndItsLatestAddressAreFoundByThePort) {
  const auto first = acquire(kVm1, mac_number(1));
  pass(seconds(1));
  const auto second = acquire(kVm1, mac_number(2));
  acquire(kVm2, mac_number(3));
  EXPECT_EQ(service->leases_through(kVm1).size(), 2u);
  EXPECT_EQ(service->address_of(kVm1), second);
  pass(seconds(1));
  ask(kVm1, selecting(mac_number(1), first));
  EXPECT_EQ(service->address_of(kVm1), first);
  EXPECT_EQ(service->address_of(kLab), std::nullopt);
  EXPECT_EQ(service->lease_count(0), 3u);
}

TEST_F(DhcpServiceTest, OnlyWhatChangedIsNewsAlsoWhenALeaseRunsOut) {
  const auto address = acquire(kVm1, mac_number(1));
  ask(kVm2, discover(mac_number(2)));
  service->commit();
  pass(seconds(60));
  EXPECT_TRUE(service->commit().news.empty()) << "an offer has ended: nobody had it";
  pass(seconds(3540));
  const auto news = service->commit().news;
  ASSERT_EQ(news.size(), 1u);
  EXPECT_FALSE(news[0].is_whole);
  ASSERT_EQ(news[0].leases.size(), 1u);
  EXPECT_EQ(news[0].leases[0].address, address);
  EXPECT_EQ(news[0].leases[0].state, LeaseState::Expired);
}

struct DhcpServiceThatChecks : DhcpServiceTest {
  void SetUp() override {
    DhcpServiceTest::SetUp();
    config.networks[0].dhcp->check_before_offer = true;
    start();
  }
  // `port` answers for every address that is asked about, until nothing is asked any more.
  void answer_all(PortIndex port, net::MacAddr by, milliseconds time) {
    for (milliseconds t{0}; t < time; t += milliseconds(2)) {
      for (const auto& question : service->checks().take_questions()) {
        ++asked;
        service->receive_arp(net::arp_request(by, question.address, kGateway, kGatewayMac).bytes(), port,
                             wall, steady);
      }
      pass(milliseconds(2));
    }
  }
  unsigned asked = 0;
};

TEST_F(DhcpServiceThatChecks, AVmThatAnswersEveryProbeKeepsNobodyFromALease) {
  give(kVm1, discover(mac_number(1)));
  answer_all(kVm2, mac_number(0x20001), milliseconds(500));
  ASSERT_EQ(answers().size(), 1u);
  EXPECT_EQ(service->claims_heeded(), 8u) << "then vm1's checks are used up, and it is offered unchecked";
  EXPECT_EQ(service->checks().skipped(), 1u);
  for (unsigned i = 10; i < 14; ++i) give(kLab, discover(mac_number(i)));
  answer_all(kVm2, mac_number(0x20001), milliseconds(500));
  EXPECT_EQ(answers().size(), 4u);
  EXPECT_EQ(service->claims_heeded(), 12u) << "an eighth of the ranges";
  EXPECT_EQ(service->claims_ignored(), 8u) << "both questions about each address that is offered";
}

TEST_F(DhcpServiceThatChecks, OneClaimerThatHasClaimedEnoughDoesNotHideAnother) {
  give(kVm1, discover(mac_number(1)));
  answer_all(kVm2, mac_number(0x20001), milliseconds(100));
  give(kLab, discover(mac_number(5)).with(Option::RequestedAddress, ip("192.168.122.150")));
  for (const auto& question : service->checks().take_questions()) {
    if (question.address != ip("192.168.122.150")) continue;
    for (const auto& [port, by] :
         {std::pair{kVm2, mac_number(0x20001)}, std::pair{kLab, mac_number(0x30001)}})
      service->receive_arp(net::arp_request(by, question.address, kGateway, kGatewayMac).bytes(), port, wall,
                           steady);
  }
  EXPECT_EQ(state_of(ip("192.168.122.150")), LeaseState::Declined);
}

TEST_F(DhcpServiceThatChecks, TheClientsOwnAnswerDoesNotTakeItsAddressAway) {
  give(kVm1, discover(mac_number(1)).with(Option::RequestedAddress, ip("192.168.122.150")));
  answer_all(kVm1, mac_number(1), milliseconds(10));
  const auto offers = answers();
  ASSERT_EQ(offers.size(), 1u);
  EXPECT_EQ(offers[0].address, ip("192.168.122.150"));
  EXPECT_EQ(service->claims_heeded(), 0u);
}

TEST_F(DhcpServiceThatChecks, ManyClientsBehindOneRelayAreAllOffered) {
  for (const milliseconds between : {milliseconds(0), milliseconds(250)}) {
    start();
    std::size_t offers = 0;
    for (unsigned i = 0; i < 15; ++i) {
      auto relayed = discover(mac_number(100 + i));
      relayed.header.giaddr = ip("192.168.122.9");
      relayed.source_mac = mac_number(9);
      give(kLab, relayed);
      pass(between);
      offers += answers().size();
    }
    pass(milliseconds(400));
    EXPECT_EQ(offers + answers().size(), 15u) << between.count();
  }
}

TEST_F(DhcpServiceThatChecks, ManyStationsBehindOneBridgesMacAreAllOfferedAndClaimedOneByOne) {
  for (unsigned i = 0; i < 15; ++i) {
    auto bridged = discover(mac_number(100 + i));
    bridged.source_mac = mac_number(9);
    give(kLab, bridged);
  }
  auto questions = service->checks().take_questions();
  ASSERT_EQ(questions.size(), 15u);
  const auto used = questions.front().address;
  service->receive_arp(net::arp_request(mac_number(8), used, kGateway, kGatewayMac).bytes(), kVm2, wall,
                       steady);
  pass(milliseconds(200));
  pass(milliseconds(200));
  pass(milliseconds(400));  // the one whose address was in use is asked about another meanwhile
  std::set<net::Ipv4Addr> offered;
  for (const Answer& answer : answers()) offered.insert(answer.address);
  EXPECT_EQ(offered.size(), 15u);
  EXPECT_FALSE(offered.contains(used));
}

TEST_F(DhcpServiceThatChecks, ADiscoverRepeatedAHundredTimesAsksOnceAndIsAnsweredByItsLast) {
  for (int i = 0; i < 100; ++i) {
    give(kVm1, discover(mac_number(1)));
    pass(milliseconds(1));
  }
  EXPECT_EQ(service->checks().asked(), 1u);
  pass(milliseconds(400));
  EXPECT_EQ(answers().size(), 1u);
  for (int i = 0; i < 100; ++i) give(kVm1, discover(mac_number(1)));
  EXPECT_EQ(service->checks().asked(), 1u) << "it is its offer by now";
}

// As the gateway does it: `config` and `ports` change in place.
struct DhcpOfNetworksThatCome : DhcpServiceTest {
  void follow() {
    ports = plan_ports(config, 1);
    service->follow_networks(wall, steady);
  }
};

TEST_F(DhcpOfNetworksThatCome, ANetworkThatLeavesFindsItsLeasesWhenItComesBack) {
  const net::Ipv4Addr address = acquire(1, mac_number(1));
  ASSERT_FALSE(address.is_unspecified());
  const config::Network before = config.networks[0];
  config.networks[0] = {.address = {net::Ipv4Addr{}, 32}, .forward = config::Forward::None};
  follow();
  EXPECT_TRUE(service->leases().empty());
  EXPECT_EQ(service->counters().sent[static_cast<std::size_t>(MessageType::Ack)], 1u)
      << "what was counted stays";
  pass(std::chrono::minutes(10));
  config.networks[0] = before;
  follow();
  EXPECT_EQ(state_of(address), LeaseState::Bound);
  EXPECT_EQ(acquire(1, mac_number(1)), address);
}

TEST_F(DhcpOfNetworksThatCome, ALeaseThatRunsOutMeanwhileIsNotThereAnyMore) {
  const net::Ipv4Addr address = acquire(1, mac_number(1));
  const auto dhcp = std::exchange(config.networks[0].dhcp, std::nullopt);
  follow();
  pass(std::chrono::hours(2));
  config.networks[0].dhcp = dhcp;
  follow();
  EXPECT_NE(state_of(address), LeaseState::Bound);
}

TEST_F(DhcpOfNetworksThatCome, WhoWaitsForACheckWhenHisPortLeavesIsForgotten) {
  config.networks[0].dhcp->check_before_offer = true;
  service->reconfigure();
  give(1, discover(mac_number(1)));
  EXPECT_EQ(service->checks().running(), 1u);
  auto& left = config.networks[0].ports;
  left.erase(left.begin());
  ports[1] = {.name = "vm1", .exists = false};
  service->follow_networks(wall, steady);
  EXPECT_EQ(service->checks().running(), 0u);
  pass(std::chrono::seconds(1));
  EXPECT_TRUE(answers().empty());
}

}  // namespace
}  // namespace vmnat::control
