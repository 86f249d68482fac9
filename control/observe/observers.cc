// SPDX-License-Identifier: Apache-2.0
#include "control/observe/observers.h"

#include <fmt/format.h>
#include <new>

namespace vmnat::control {

using dataplane::Observation;

namespace {

std::uint64_t missed_by(const Observation& observation) {
  std::uint64_t missed = 0;
  for (const auto& ring : observation.rings) missed += ring->missed();
  return missed;
}

}  // namespace

Observers::Observer::Observer(Observers& observers, std::shared_ptr<const Observation> observation)
    : observers_(observers), observation_(std::move(observation)) {}

Observers::Observer::~Observer() {
  observers_.remove(*this);
}

std::uint64_t Observers::Observer::missed(PortIndex port) const {
  std::uint64_t missed = 0;
  for (const auto& ring : observation_->rings) missed += ring->missed(port);
  return missed;
}

std::uint64_t Observers::Observer::missed() const {
  return missed_by(*observation_);
}

// A frame carries one number.
Result<void> Observers::admit_trace(Observation& wanted) {
  if (!mark_) mark_ = find_mark_();
  if (!mark_)
    return tl::unexpected(Error{"", "DPDK has no field of its buffers left for what a trace marks"});
  for (const auto& observation : observations_)
    if (observation->to_trace != nullptr)
      return tl::unexpected(Error{"", "a trace is under way: end it first"});
  wanted.first_number = numbered_;
  numbered_ += wanted.to_trace->load(std::memory_order_relaxed);
  return {};
}

Result<std::unique_ptr<Observer>> Observers::add(Observation wanted, std::size_t ring_bytes) {
  if (observations_.size() == dataplane::kMostObservers)
    return tl::unexpected(
        Error{"", fmt::format("{} captures and traces are under way, and there may be no more: end one first",
                              observations_.size())});
  if (wanted.to_trace != nullptr)
    if (auto admitted = admit_trace(wanted); !admitted) return tl::unexpected(admitted.error());
  try {
    for (unsigned worker = 0; worker < workers_; ++worker)
      wanted.rings.push_back(std::make_unique<dataplane::RecordRing>(ring_bytes));
  } catch (const std::bad_alloc&) {
    return tl::unexpected(Error{"", "no memory for the buffers"});
  }
  observations_.push_back(std::make_shared<const Observation>(std::move(wanted)));
  publish();
  return std::make_unique<Observer>(*this, observations_.back());
}

std::uint64_t Observers::missed() const {
  std::uint64_t missed = missed_before_;
  for (const auto& observation : observations_) missed += missed_by(*observation);
  return missed;
}

void Observers::remove(const Observer& observer) {
  missed_before_ += observer.missed();
  std::erase_if(observations_, [&](const auto& other) { return other.get() == &observer.observation(); });
  publish();
}

void Observers::publish() {
  dataplane::ForwardingState next = states_.current();
  next.watches = observations_.empty() ? nullptr
                                       : std::make_shared<dataplane::Watches>(
                                             workers_, observations_, mark_.value_or(dataplane::TraceMark{}));
  states_.publish(std::move(next));
}

}  // namespace vmnat::control
