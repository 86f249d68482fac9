// SPDX-License-Identifier: Apache-2.0
// The words of the file for the enumerators of model.h.
//
// Example: to_word(Idle::Poll) is "poll"; word<Idle>("poll") of values.h is its inverse.
#pragma once

#include <array>
#include <string_view>

#include "control/config/model.h"
#include "net/protocol.h"

namespace vmnat::config {

template <typename E>
struct Word {
  E value;
  std::string_view text;
};
constexpr auto words_of(Hugepages) {
  return std::to_array<Word<Hugepages>>(
      {{Hugepages::Auto, "auto"}, {Hugepages::Required, "required"}, {Hugepages::Off, "off"}});
}
constexpr auto words_of(Idle) {
  return std::to_array<Word<Idle>>({{Idle::Adaptive, "adaptive"}, {Idle::Poll, "poll"}});
}
constexpr auto words_of(Identity) {
  return std::to_array<Word<Identity>>(
      {{Identity::Mac, "mac"}, {Identity::Port, "port"}, {Identity::ClientId, "client-id"}});
}
constexpr auto words_of(DnsSource) {  // Listed has none
  return std::to_array<Word<DnsSource>>({{DnsSource::Host, "host"}, {DnsSource::Gateway, "gateway"}});
}
constexpr auto words_of(Forward) {
  return std::to_array<Word<Forward>>(
      {{Forward::Nat, "nat"}, {Forward::Route, "route"}, {Forward::None, "none"}});
}
constexpr auto words_of(KernelDriver) {
  return std::to_array<Word<KernelDriver>>(
      {{KernelDriver::Auto, "auto"}, {KernelDriver::Packet, "packet"}, {KernelDriver::Xdp, "xdp"}});
}
constexpr auto words_of(LoggedUnit) {
  return std::to_array<Word<LoggedUnit>>(
      {{LoggedUnit::Sessions, "sessions"}, {LoggedUnit::Blocks, "blocks"}});
}
constexpr auto words_of(VhostMode) {
  return std::to_array<Word<VhostMode>>({{VhostMode::Client, "client"}, {VhostMode::Server, "server"}});
}
constexpr auto words_of(VirtioFeature) {  // as QEMU calls them
  using enum VirtioFeature;
  return std::to_array<Word<VirtioFeature>>({{Csum, "csum"},
                                             {GuestCsum, "guest_csum"},
                                             {Mtu, "mtu"},
                                             {Gso, "gso"},
                                             {GuestTso4, "guest_tso4"},
                                             {GuestTso6, "guest_tso6"},
                                             {GuestEcn, "guest_ecn"},
                                             {HostTso4, "host_tso4"},
                                             {HostTso6, "host_tso6"},
                                             {HostEcn, "host_ecn"},
                                             {MrgRxbuf, "mrg_rxbuf"},
                                             {CtrlVq, "ctrl_vq"},
                                             {CtrlRx, "ctrl_rx"},
                                             {CtrlVlan, "ctrl_vlan"},
                                             {CtrlRxExtra, "ctrl_rx_extra"},
                                             {GuestAnnounce, "guest_announce"},
                                             {Mq, "mq"},
                                             {CtrlMacAddr, "ctrl_mac_addr"},
                                             {IndirectDesc, "indirect_desc"},
                                             {EventIdx, "event_idx"},
                                             {Version1, "version_1"},
                                             {IommuPlatform, "iommu_platform"},
                                             {Packed, "packed"},
                                             {InOrder, "in_order"}});
}
constexpr auto words_of(RuleDirection) {
  return std::to_array<Word<RuleDirection>>({{RuleDirection::In, "in"}, {RuleDirection::Out, "out"}});
}
constexpr auto words_of(RuleAction) {
  return std::to_array<Word<RuleAction>>(
      {{RuleAction::Accept, "accept"}, {RuleAction::Drop, "drop"}, {RuleAction::Reject, "reject"}});
}
constexpr auto words_of(PortGuard) {
  return std::to_array<Word<PortGuard>>({{PortGuard::On, "on"}, {PortGuard::Off, "off"}});
}
constexpr auto words_of(Mapping) {
  return std::to_array<Word<Mapping>>({{Mapping::EndpointIndependent, "endpoint-independent"},
                                       {Mapping::EndpointDependent, "endpoint-dependent"}});
}
constexpr auto words_of(Filtering) {
  return std::to_array<Word<Filtering>>({{Filtering::AddressAndPortDependent, "address-and-port-dependent"},
                                         {Filtering::AddressDependent, "address-dependent"},
                                         {Filtering::EndpointIndependent, "endpoint-independent"}});
}
constexpr auto words_of(ExhaustionIcmp) {
  return std::to_array<Word<ExhaustionIcmp>>({{ExhaustionIcmp::AdminProhibited, "admin-prohibited"},
                                              {ExhaustionIcmp::HostUnreachable, "host-unreachable"},
                                              {ExhaustionIcmp::Off, "off"}});
}
constexpr auto words_of(TcpMidStream) {
  return std::to_array<Word<TcpMidStream>>(
      {{TcpMidStream::Reset, "reset"}, {TcpMidStream::Drop, "drop"}, {TcpMidStream::PickUp, "pick-up"}});
}
constexpr auto words_of(net::Protocol) {  // of a forward
  return std::to_array<Word<net::Protocol>>({{net::Protocol::Tcp, net::name_of(net::Protocol::Tcp)},
                                             {net::Protocol::Udp, net::name_of(net::Protocol::Udp)}});
}
template <typename E>
constexpr std::string_view to_word(E value) {
  for (const auto& word : words_of(value))
    if (word.value == value) return word.text;
  return "?";
}

}  // namespace vmnat::config
