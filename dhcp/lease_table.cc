// SPDX-License-Identifier: Apache-2.0
// Every change goes through link and unlink, which keep the indexes, the counts and the pool equal to the
// records; check_invariants() computes all of them anew and compares.
#include "dhcp/lease_table.h"

namespace vmnat::dhcp {

std::string_view name_of(LeaseState state) {
  switch (state) {
    case LeaseState::Offered:
      return "offered";
    case LeaseState::Bound:
      return "bound";
    case LeaseState::Released:
      return "released";
    case LeaseState::Expired:
      return "expired";
    case LeaseState::Declined:
      return "declined";
    case LeaseState::Reserved:
      return "reserved";
  }
  return "unknown";
}

const LeaseTable::Record* LeaseTable::at(net::Ipv4Addr address) const {
  const auto found = by_address_.find(address);
  return found == by_address_.end() ? nullptr : &found->second;
}

const LeaseTable::Record* LeaseTable::of(const ClientKey& key) const {
  const auto found = by_client_.find(key);
  return found == by_client_.end() ? nullptr : at(found->second);
}

std::size_t LeaseTable::held_through(const std::string& port) const {
  const auto found = held_by_port_.find(port);
  return found == held_by_port_.end() ? 0 : found->second;
}

void LeaseTable::put(Lease lease, ClientKey key) {
  if (!key.empty())
    if (const Record* other = of(key); other != nullptr && other->lease.address != lease.address)
      forget(other->lease.address);
  forget(lease.address);
  const net::Ipv4Addr address = lease.address;
  const auto [at, _] = by_address_.emplace(address, Record{std::move(lease), std::move(key)});
  link(at->second);
}

void LeaseTable::forget(net::Ipv4Addr address) {
  const auto found = by_address_.find(address);
  if (found == by_address_.end()) return;
  unlink(found->second);
  by_address_.erase(found);
}

void LeaseTable::link(const Record& record) {
  const Lease& lease = record.lease;
  if (!record.key.empty()) by_client_[record.key] = lease.address;
  pool_.remember(lease.address);
  if (!record.is_held()) return;
  pool_.take(lease.address);
  ends_.emplace(lease.expires, lease.address);
  ++held_by_port_[lease.port];
}

void LeaseTable::unlink(const Record& record) {
  const Lease& lease = record.lease;
  if (!record.key.empty()) by_client_.erase(record.key);
  pool_.forget(lease.address);
  if (!record.is_held()) return;
  pool_.give_back(lease.address);
  ends_.erase({lease.expires, lease.address});
  const auto count = held_by_port_.find(lease.port);
  if (--count->second == 0) held_by_port_.erase(count);
}

void LeaseTable::shift_ends(WallTime::duration by) {
  ends_.clear();
  for (auto& [address, record] : by_address_) {
    if (!record.is_held()) continue;
    if (record.lease.expires != kNever) record.lease.expires += by;
    ends_.emplace(record.lease.expires, address);
  }
}

std::optional<WallTime> LeaseTable::next_end() const {
  return ends_.empty() ? std::nullopt : std::optional{ends_.begin()->first};
}

std::optional<net::Ipv4Addr> LeaseTable::first_over(WallTime now) const {
  if (ends_.empty() || ends_.begin()->first > now) return std::nullopt;
  return ends_.begin()->second;
}

std::string LeaseTable::check_invariants() const {
  std::size_t held = 0, with_key = 0, counted = 0;
  for (const auto& [address, record] : by_address_) {
    const std::string name = net::to_string(address);
    if (record.lease.address != address) return name + ": filed under another address";
    if (!record.key.empty()) {
      ++with_key;
      const auto found = by_client_.find(record.key);
      if (found == by_client_.end() || found->second != address) return name + ": not found by its client";
    }
    if (record.is_held()) {
      ++held;
      if (!ends_.contains({record.lease.expires, address})) return name + ": active without an end";
      if (pool_.is_free(address)) return name + ": active and free at once";
    } else if (pool_.contains(address) && !pool_.is_free(address)) {
      return name + ": over, and still taken";
    }
  }
  for (const auto& [port, count] : held_by_port_) counted += count;
  if (with_key != by_client_.size()) return "a client without a record";
  if (held != ends_.size()) return "an end without an active record";
  if (held != counted) return "counts of ports differ from the records";
  return {};
}

}  // namespace vmnat::dhcp
