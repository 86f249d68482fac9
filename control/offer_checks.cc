// SPDX-License-Identifier: Apache-2.0
#include "control/offer_checks.h"

#include "dataplane/net/wire.h"

namespace vmnat::control {
namespace {

constexpr std::chrono::seconds kListensOn{5};

net::MacAddr sender_of(std::span<const std::byte> frame) {
  const auto* ethernet = net::view<net::EthernetHeader>(frame);
  return ethernet == nullptr ? net::MacAddr{} : ethernet->source;
}

}  // namespace

bool OfferChecks::add(Waiting waiting) {
  // A DISCOVER that is repeated meanwhile takes the place of the one before.
  std::erase_if(waiting_, [&](const Waiting& other) {
    return other.port == waiting.port && sender_of(other.frame) == sender_of(waiting.frame);
  });
  if (waiting_.size() >= kAtOnce) {
    ++skipped_;
    return false;
  }
  questions_.push_back({waiting.network, waiting.address});
  if (last_.size() <= waiting.network) last_.resize(waiting.network + 1u, SteadyTime::min());
  last_[waiting.network] = waiting.asked;
  waiting_.push_back(std::move(waiting));
  ++asked_;
  return true;
}

void OfferChecks::receive_arp(std::span<const std::byte> frame, dataplane::NetworkIndex network) {
  const auto* arp = net::view<net::ArpPacket>(frame, sizeof(net::EthernetHeader));
  if (arp == nullptr || !arp->is_ethernet_ipv4() || arp->sender_mac.is_zero()) return;
  std::erase_if(waiting_, [&](Waiting& waiting) {
    if (waiting.network != network || waiting.address != arp->sender_address) return false;
    // The client itself may still have the address from another life.
    const bool is_client = sender_of(waiting.frame) == arp->sender_mac;
    if (!is_client) ++in_use_;
    settled_.push_back({std::move(waiting), is_client ? net::MacAddr{} : arp->sender_mac});
    return true;
  });
}

std::vector<OfferChecks::Settled> OfferChecks::take_settled(SteadyTime now) {
  std::erase_if(waiting_, [&](Waiting& waiting) {
    if (now < waiting.asked + kPatience / 2) return false;
    if (!std::exchange(waiting.asked_twice, true)) questions_.push_back({waiting.network, waiting.address});
    if (now < waiting.asked + kPatience) return false;
    settled_.push_back({std::move(waiting), {}});
    return true;
  });
  return std::exchange(settled_, {});
}

bool OfferChecks::awaits_replies(dataplane::NetworkIndex network, SteadyTime now) const {
  return network < last_.size() && last_[network] != SteadyTime::min() && now < last_[network] + kListensOn;
}

}  // namespace vmnat::control
