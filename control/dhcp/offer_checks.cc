// SPDX-License-Identifier: Apache-2.0
#include "control/dhcp/offer_checks.h"

#include <algorithm>

namespace vmnat::control {
namespace {

constexpr std::chrono::seconds kListensOn{5};

}  // namespace

bool OfferChecks::add(Waiting waiting, unsigned per_second) {
  const auto known =
      std::ranges::find_if(waiting_, [&](const Waiting& other) { return other.is_of_same_client(waiting); });
  if (known != waiting_.end() && known->address == waiting.address) {
    known->frame = std::move(waiting.frame);
    return true;
  }
  if (known != waiting_.end()) waiting_.erase(known);
  if (waiting_.size() >= kAtOnce || !budget_.take(waiting.port, per_second, waiting.asked)) {
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

const OfferChecks::Waiting* OfferChecks::waiting_for(dataplane::NetworkIndex network,
                                                     net::Ipv4Addr address) const {
  const auto found = std::ranges::find_if(waiting_, [&](const Waiting& waiting) {
    return waiting.network == network && waiting.address == address;
  });
  return found == waiting_.end() ? nullptr : &*found;
}

OfferChecks::Waiting OfferChecks::take(dataplane::NetworkIndex network, net::Ipv4Addr address) {
  const auto at = waiting_.begin() + (waiting_for(network, address) - waiting_.data());
  Waiting taken = std::move(*at);
  waiting_.erase(at);
  return taken;
}

std::vector<OfferChecks::Waiting> OfferChecks::take_unanswered(SteadyTime now) {
  std::vector<Waiting> unanswered;
  std::erase_if(waiting_, [&](Waiting& waiting) {
    if (now < waiting.asked + kPatience / 2) return false;
    if (!std::exchange(waiting.asked_twice, true)) questions_.push_back({waiting.network, waiting.address});
    if (now < waiting.asked + kPatience) return false;
    unanswered.push_back(std::move(waiting));
    return true;
  });
  return unanswered;
}

bool OfferChecks::awaits_replies(dataplane::NetworkIndex network, SteadyTime now) const {
  return network < last_.size() && last_[network] != SteadyTime::min() && now < last_[network] + kListensOn;
}

}  // namespace vmnat::control
