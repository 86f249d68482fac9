// SPDX-License-Identifier: Apache-2.0
// What control makes of punted frames, without workers: the parts behind SlowPath, in its order, and what
// must hold whatever comes.
//
// Two networks: `default` with eight addresses, that clients fight for, and `lab` with a thousand behind a
// relay. Frames, learned MACs and links come in, as SlowPath's take_punt(), take_learned() and follow_links()
// take them; poll() and tell() do what its poll() and tell_workers() do. Beside them runs a model: which
// frames wait, who asked what, and which address is leased through which port, made of what DhcpService tells
// of its leases. Example: vm1 is bound to .3; a frame of vm2's after which .3 is held through vm2 is a fault,
// and so is a published owner of .3 that is not vm1.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/dhcp/dhcp_service.h"
#include "control/hosts/mac_learning.h"
#include "control/hosts/neighbors.h"
#include "control/hosts/ownership.h"
#include "control/plan/initial_state.h"
#include "control/plan/ports.h"

namespace vmnat::fuzz {

using control::FrameBytes;
using control::NetworkIndex;

class PuntsBed {
 public:
  static constexpr PortIndex kPorts = 8;  // the uplink's is 0; of `default` 1 to 4, of `lab` 5 to 7
  static constexpr NetworkIndex kNetworks = 2;

  // `setup`: bits that choose what is configured.
  explicit PuntsBed(std::uint8_t setup);

  // Frames that workers punted. DHCP comes by VMs' ports alone.
  void dhcp(std::span<const FrameBytes> burst, PortIndex port);
  void arp_reply(std::span<const std::byte> frame, PortIndex port);
  // Frames that wait for a router's MAC, or for a VM's: at least Ethernet and IPv4 headers.
  void neighbor_unresolved(net::Ipv4Addr next_hop, FrameBytes frame, PortIndex port);
  void host_unresolved(NetworkIndex network, net::Ipv4Addr host, FrameBytes frame, PortIndex port);

  void learned(net::MacAddr mac, PortIndex port);
  void link(PortIndex port, bool is_up);
  // The wall clock may go elsewhere meanwhile.
  void pass(std::chrono::milliseconds time, std::chrono::seconds wall_set_by);
  void release(net::Ipv4Addr address);
  void reconfigure(std::uint8_t setup);
  // The uplink has another address.
  void start_over();
  void poll();
  void tell();

  [[nodiscard]] const net::Ipv4Prefix& gateway(PortIndex port) const { return network_of(port).address; }
  [[nodiscard]] net::MacAddr gateway_mac(PortIndex port) const {
    return control::gateway_mac(network_of(port));
  }
  [[nodiscard]] NetworkIndex network_index(PortIndex port) const { return ports_[port].network; }
  // What the client was told last to be its address.
  [[nodiscard]] net::Ipv4Addr told(net::MacAddr client) const;
  // Addresses that were asked about in the last round.
  [[nodiscard]] const std::vector<control::OfferChecks::Question>& questions() const { return questions_; }

 private:
  // Frames that were given to one Neighbors: each comes out once, whole, or is counted as dropped, or waits.
  struct Ledger {
    std::map<std::uint32_t, FrameBytes> given;  // by serial number
    std::uint64_t in = 0, out = 0;
  };
  struct Holder {
    std::string port;
    net::MacAddr mac;
    bool operator==(const Holder&) const = default;
  };
  using Holders = std::map<std::pair<NetworkIndex, net::Ipv4Addr>, Holder>;

  static config::Config configuration(std::uint8_t setup);
  void apply(std::uint8_t setup) { apply(config_, setup); }
  static void apply(config::Config& config, std::uint8_t setup);
  [[nodiscard]] const config::Network& network_of(PortIndex port) const {
    return config_.networks[ports_[port].network];
  }
  void stamp(FrameBytes& frame, Ledger& ledger);
  void follow_leases(std::span<const control::DhcpService::News> news);
  void note(NetworkIndex network, const dhcp::Lease& lease);
  void publish();

  [[nodiscard]] Holders holders() const;
  void check_service(bool time_has_passed);
  void check_reply(const control::DhcpService::Reply& reply);
  void check_output(control::Neighbors& neighbors, Ledger& ledger, net::MacAddr own_mac);
  void check_sent(const FrameBytes& frame, Ledger& ledger, net::MacAddr own_mac);
  static void check_bounds(const control::Neighbors& neighbors, const Ledger& ledger);
  void check_macs() const;
  void check_owners() const;
  void check_owner(NetworkIndex network, net::Ipv4Addr address) const;

  config::Config config_;
  std::vector<control::PortPlan> ports_;
  control::VmPlaces places_;
  dataplane::ForwardingState state_;
  dhcp::WallTime wall_;
  SteadyTime now_;
  control::DhcpService dhcp_;
  control::Neighbors neighbors_;
  std::vector<control::Neighbors> inside_;
  control::MacLearning macs_;
  control::Ownership ownership_;

  std::array<Ledger, 1 + kNetworks> ledgers_;  // of the uplink, then by network
  std::uint32_t serial_ = 0;
  std::array<std::set<std::uint32_t>, kPorts> asked_;  // transactions that came by each port
  std::map<net::MacAddr, net::Ipv4Addr> told_;
  Holders bound_;   // as told by news
  Holders before_;  // offers and leases after the last event
  bool time_passed_ = false;
  std::vector<control::OfferChecks::Question> questions_;
};

}  // namespace vmnat::fuzz
