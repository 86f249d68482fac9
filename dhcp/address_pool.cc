// SPDX-License-Identifier: Apache-2.0
// Bit maps over the numbered addresses of the ranges. Bits behind the last address count as blocked, so a
// search by whole words needs no special case at the end.
#include "dhcp/address_pool.h"

#include <algorithm>
#include <bit>

namespace vmnat::dhcp {
namespace {

constexpr std::size_t kWordBits = 64;

bool is_set(const std::vector<std::uint64_t>& bits, std::size_t number) {
  return (bits[number / kWordBits] >> (number % kWordBits) & 1) != 0;
}
void set(std::vector<std::uint64_t>& bits, std::size_t number) {
  bits[number / kWordBits] |= std::uint64_t{1} << (number % kWordBits);
}
void clear(std::vector<std::uint64_t>& bits, std::size_t number) {
  bits[number / kWordBits] &= ~(std::uint64_t{1} << (number % kWordBits));
}

}  // namespace

AddressPool::AddressPool(std::span<const AddressRange> ranges, net::Ipv4Prefix network) {
  const std::uint32_t lowest = network.first_host().host();
  const std::uint32_t highest = network.last_host().host();
  std::vector<AddressRange> sorted{ranges.begin(), ranges.end()};
  std::ranges::sort(sorted, {}, &AddressRange::first);
  for (const AddressRange& range : sorted)
    add_interval(std::max(range.first.host(), lowest), std::min(range.last.host(), highest));

  const std::size_t words = (size_ + kWordBits - 1) / kWordBits;
  taken_.resize(words);
  blocked_.resize(words);
  remembered_.resize(words);
  for (std::size_t number = size_; number < words * kWordBits; ++number) set(blocked_, number);
  block(network.address);
}

// Ranges come in ascending order of their first address: only the last interval can overlap.
void AddressPool::add_interval(std::uint32_t first, std::uint32_t last) {
  if (!intervals_.empty() && first <= intervals_.back().last) {
    if (last <= intervals_.back().last) return;
    first = intervals_.back().last + 1;
  }
  if (first > last) return;
  intervals_.push_back({first, last, size_});
  size_ += std::size_t{last} - first + 1;
}

std::optional<std::size_t> AddressPool::number_of(net::Ipv4Addr address) const {
  const std::uint32_t value = address.host();
  const auto after = std::ranges::upper_bound(intervals_, value, {}, &Interval::first);
  if (after == intervals_.begin() || value > std::prev(after)->last) return std::nullopt;
  return std::prev(after)->number + (value - std::prev(after)->first);
}

net::Ipv4Addr AddressPool::address_of(std::size_t number) const {
  const auto after = std::ranges::upper_bound(intervals_, number, {}, &Interval::number);
  const Interval& interval = *std::prev(after);
  return net::Ipv4Addr::from_host(interval.first + static_cast<std::uint32_t>(number - interval.number));
}

bool AddressPool::contains(net::Ipv4Addr address) const {
  const auto number = number_of(address);
  return number && !is_set(blocked_, *number);
}

bool AddressPool::is_free(net::Ipv4Addr address) const {
  return contains(address) && !is_set(taken_, *number_of(address));
}

void AddressPool::block(net::Ipv4Addr address) {
  if (const auto number = number_of(address)) set(blocked_, *number);
}
void AddressPool::take(net::Ipv4Addr address) {
  if (const auto number = number_of(address)) set(taken_, *number);
}
void AddressPool::give_back(net::Ipv4Addr address) {
  if (const auto number = number_of(address)) clear(taken_, *number);
}
void AddressPool::remember(net::Ipv4Addr address) {
  if (const auto number = number_of(address)) set(remembered_, *number);
}
void AddressPool::forget(net::Ipv4Addr address) {
  if (const auto number = number_of(address)) clear(remembered_, *number);
}

// The first number from `start` on, going around once, whose bit in unusable(word index) is clear.
template <typename Unusable>
std::optional<std::size_t> AddressPool::first_clear(std::size_t start, Unusable unusable) const {
  const std::size_t words = taken_.size();
  const std::uint64_t below_start = (std::uint64_t{1} << (start % kWordBits)) - 1;
  for (std::size_t step = 0; step <= words;
       ++step) {  // the first word is seen twice: from start, and below it
    const std::size_t word = (start / kWordBits + step) % words;
    std::uint64_t usable = ~unusable(word);
    if (step == 0) usable &= ~below_start;
    if (step == words) usable &= below_start;
    if (usable != 0) return word * kWordBits + static_cast<std::size_t>(std::countr_zero(usable));
  }
  return std::nullopt;
}

std::optional<net::Ipv4Addr> AddressPool::find_free(std::uint64_t start) const {
  if (size_ == 0) return std::nullopt;
  const std::size_t from = start % size_;
  auto number = first_clear(from, [&](std::size_t i) { return taken_[i] | blocked_[i] | remembered_[i]; });
  if (!number) number = first_clear(from, [&](std::size_t i) { return taken_[i] | blocked_[i]; });
  return number ? std::optional{address_of(*number)} : std::nullopt;
}

}  // namespace vmnat::dhcp
