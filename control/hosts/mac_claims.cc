// SPDX-License-Identifier: Apache-2.0
#include "control/hosts/mac_claims.h"

namespace vmnat::control {

bool MacClaims::begin(net::Ipv4Addr address, net::MacAddr mac, Weight weight, Time now) {
  if (weight == Weight::Usual && running_.size() >= kAtOnce) return false;
  if (const auto last = refuted_.find(address); last != refuted_.end()) {
    const Time ends = last->second.mac == mac ? last->second.ends : last->second.ends - kPause + kPatience;
    if (now < ends) return false;
  }
  return running_.try_emplace(address, Claim{.mac = mac, .ends = now + kPatience}).second;
}

void MacClaims::note_answer(net::Ipv4Addr address, net::MacAddr mac) {
  const auto running = running_.find(address);
  if (running != running_.end() && running->second.mac == mac) running->second.is_answered = true;
}

bool MacClaims::refute(net::Ipv4Addr address, Time now) {
  const auto running = running_.find(address);
  if (running == running_.end()) return false;
  refuted_[address] = {.mac = running->second.mac, .ends = now + kPause};
  running_.erase(running);
  return true;
}

std::vector<MacClaims::Standing> MacClaims::take_standing(Time now) {
  const auto is_over = [&](const auto& claim) { return claim.second.ends <= now; };
  std::vector<Standing> standing;
  for (const auto& claim : running_)
    if (is_over(claim)) standing.push_back({claim.first, claim.second.mac, claim.second.is_answered});
  std::erase_if(running_, is_over);
  std::erase_if(refuted_, is_over);
  return standing;
}

}  // namespace vmnat::control
