// SPDX-License-Identifier: Apache-2.0
// UplinkClient: the uplink's address when DHCP gives it (`uplink.address: dhcp`), from the lease to the
// workers.
//
// dhcp::Client speaks the protocol. This class applies its lease: address, router and MTU of the uplink,
// which describe() fills into the next forwarding state. A lease of another address ends the sessions of the
// former one (gateway/rented_address.h has the steps); one that only changes router, MTU or times ends none.
//
// Leases last by the boot clock: one that ended while the machine slept is given up when it wakes. A lease
// that contradicts the configuration (it overlaps a network, or is an address of `nat.addresses`) is held,
// but not applied; problem() says why.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/time.h"
#include "control/config/model.h"
#include "control/gateway/rented_address.h"
#include "control/hosts/neighbors.h"
#include "control/hosts/own_addresses.h"
#include "control/log/log_budget.h"
#include "control/system/boot_clock.h"
#include "dataplane/context/forwarding_state.h"
#include "dhcp/client.h"

namespace vmnat::control {

class UplinkClient {
 public:
  // What is ours on the uplink's link.
  struct OnLink {
    Neighbors& neighbors;
    OwnAddresses& own_addresses;
  };

  // All of them outlive it. What it has to send goes out through `neighbors`. `number`: the uplink's.
  UplinkClient(const config::Config& config, PortIndex number, net::MacAddr own_mac,
               const RentedAddress& address, const OnLink& link);

  // The link has come up, for the first time or again.
  void link_up();
  void receive(std::span<const std::byte> frame) { client_.receive(frame, boot_time()); }
  void receive_arp(std::span<const std::byte> frame) { client_.receive_arp(frame, boot_time()); }
  // What is due. True: the workers need a new state, see describe().
  bool advance(SteadyTime now);
  void describe(dataplane::Uplink& uplink) const;

  // What is forwarded by; nothing while there is no lease, or none that can be used.
  [[nodiscard]] const std::optional<dhcp::Binding>& in_effect() const { return in_effect_; }
  [[nodiscard]] net::Ipv4Addr rented() const {
    return in_effect_ ? in_effect_->address.address : net::Ipv4Addr{};
  }
  // As it stands in the table of external addresses: until its sessions have ended.
  [[nodiscard]] net::Ipv4Addr in_table() const { return address_.value(); }
  [[nodiscard]] const dhcp::Client& client() const { return client_; }
  // Why there is no address although there is a lease; else empty.
  [[nodiscard]] const std::string& problem() const { return problem_; }
  // Sessions ended because their address went.
  [[nodiscard]] std::uint64_t sessions_ended() const { return sessions_ended_; }

 private:
  void tell(dhcp::ClientNews news, SteadyTime now);
  void send_output(SteadyTime now);
  [[nodiscard]] std::string contradiction(const dhcp::Binding& binding) const;
  std::optional<dhcp::Binding> usable_lease(SteadyTime now);
  bool follow_lease(SteadyTime now);
  bool give_up_address();
  [[nodiscard]] bool has_former_address_other_than(net::Ipv4Addr address) const;
  bool finish_giving_up(SteadyTime now);
  bool apply(const dhcp::Binding& lease, SteadyTime now);
  void keep_in_mind(net::Ipv4Addr address) const;

  [[nodiscard]] const config::Uplink& settings() const { return config::uplink_at(config_, number_); }

  const config::Config& config_;
  PortIndex number_;
  std::string name_;
  RentedAddress address_;
  Neighbors& neighbors_;
  OwnAddresses& own_addresses_;
  LogBudget log_;
  std::string memory_path_;
  dhcp::Client client_;
  std::string problem_;
  std::uint64_t sessions_ended_ = 0;
  std::optional<dhcp::Binding> in_effect_;
};

}  // namespace vmnat::control
