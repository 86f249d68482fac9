// SPDX-License-Identifier: Apache-2.0
#include "control/metrics/session_census.h"

#include <algorithm>
#include <span>

#include "base/random_seed.h"

namespace vmnat::metrics {
namespace {

constexpr std::chrono::microseconds kTurn{500};

}  // namespace

// Multiplication carries upwards, so the upper half is folded down between two of them.
std::size_t SessionCensus::RemoteHash::operator()(const Remote& remote) const {
  std::uint64_t word = (remote.endpoint ^ seed) * 0x9e37'79b9'7f4a'7c15;
  word = (word ^ word >> 32 ^ remote.external.raw()) * 0xd6e8'feb8'6659'fd93;
  return word ^ word >> 32;
}

SessionCensus::SessionCensus(const control::Workers& workers)
    : workers_(workers), remotes_(0, RemoteHash{random_seed()}) {}

void SessionCensus::ask(SteadyTime now) {
  const bool is_fresh = last_ && now - last_->ended < kFresh;
  if (!is_under_way_ && !is_fresh) {
    is_under_way_ = true;
    worker_ = 0;
    cursor_ = 0;
    count_ = {};
  }
  advance(now);
}

void SessionCensus::advance(SteadyTime now) {
  const auto ends = std::chrono::steady_clock::now() + kTurn;
  while (is_under_way_ && std::chrono::steady_clock::now() < ends) {
    if (worker_ == workers_.count()) return conclude(now);
    const std::size_t found = workers_[worker_].conntrack().snapshot(cursor_, chunk_);
    for (const conntrack::SessionView& view : std::span{chunk_}.first(found)) add(view);
    if (found == chunk_.size()) continue;
    ++worker_;
    cursor_ = 0;
  }
}

void SessionCensus::add(const conntrack::SessionView& view) {
  ++count_.sessions[{view.policy, view.protocol, view.state}];
  const Remote remote{std::uint64_t{view.remote.address.raw()} << 32 |
                          std::uint64_t{view.remote.port.host()} << 8 |
                          static_cast<std::uint64_t>(view.protocol),
                      view.external.address};
  auto known = remotes_.find(remote);
  if (known == remotes_.end()) {
    if (remotes_.size() == kMostRemotes) return;
    known = remotes_.emplace(remote, 0).first;
  }
  std::uint64_t& most = count_.most_of_a_remote[view.external.address];
  most = std::max(most, ++known->second);
}

void SessionCensus::conclude(SteadyTime now) {
  is_under_way_ = false;
  remotes_.clear();
  count_.ended = now;
  last_ = std::move(count_);
}

}  // namespace vmnat::metrics
