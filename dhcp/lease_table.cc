// SPDX-License-Identifier: Apache-2.0
// Every change goes through link and unlink, which keep the indexes, the counts and the pool equal to the
// records; check_invariants() computes all of them anew and compares.
#include "dhcp/lease_table.h"

#include "dhcp/client_name.h"

namespace vmnat::dhcp {

std::string_view to_string(LeaseState state) {
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

const LeaseTable::Record* LeaseTable::named(std::string_view hostname) const {
  const auto found = by_name_.find(name_key(hostname));
  return found == by_name_.end() ? nullptr : at(found->second);
}

std::string LeaseTable::name_of_lease(const Lease& lease) {
  return lease.state == LeaseState::Bound ? name_key(lease.hostname) : std::string{};
}

const std::set<net::Ipv4Addr>& LeaseTable::held_through(const std::string& port) const {
  static const std::set<net::Ipv4Addr> kNone;
  const auto found = by_port_.find(port);
  return found == by_port_.end() ? kNone : found->second.held;
}

std::size_t LeaseTable::declined_through(const std::string& port) const {
  const auto found = by_port_.find(port);
  return found == by_port_.end() ? 0 : found->second.declined;
}

bool LeaseTable::is_held_elsewhere(net::MacAddr mac, const std::string& port) const {
  for (auto at = holders_.lower_bound({mac, {}}); at != holders_.end() && at->first.first == mac; ++at)
    if (at->first.second != port) return true;
  return false;
}

void LeaseTable::put(Lease lease, ClientKey key, bool awaits_check) {
  if (!key.empty())
    if (const Record* other = of(key); other != nullptr && other->lease.address != lease.address)
      forget(other->lease.address);
  forget(lease.address);
  const net::Ipv4Addr address = lease.address;
  const auto [at, _] = by_address_.emplace(address, Record{std::move(lease), std::move(key), awaits_check});
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
  if (std::string name = name_of_lease(lease); !name.empty()) by_name_[std::move(name)] = lease.address;
  count(lease, 1);
}

void LeaseTable::unlink(const Record& record) {
  const Lease& lease = record.lease;
  if (!record.key.empty()) by_client_.erase(record.key);
  pool_.forget(lease.address);
  if (!record.is_held()) return;
  pool_.give_back(lease.address);
  ends_.erase({lease.expires, lease.address});
  by_name_.erase(name_of_lease(lease));
  count(lease, -1);
}

// A lease through no port, of before a restart with other ports, is whoever's its client is.
void LeaseTable::count(const Lease& lease, int sign) {
  const bool is_declined = lease.state == LeaseState::Declined;
  const auto change = static_cast<std::size_t>(sign);  // -1: wraps, as sums of unsigned numbers do
  if (lease.state == LeaseState::Bound) bound_ += change;
  if (is_declined) declined_ += change;
  const auto port = by_port_.try_emplace(lease.port).first;
  if (is_declined) port->second.declined += change;
  if (sign > 0)
    port->second.held.insert(lease.address);
  else
    port->second.held.erase(lease.address);
  if (port->second.held.empty()) by_port_.erase(port);
  if (is_declined || lease.port.empty()) return;
  const auto holder = holders_.try_emplace({lease.mac, lease.port}).first;
  holder->second += change;
  if (holder->second == 0) holders_.erase(holder);
}

void LeaseTable::shift_ends(WallTime::duration by) {
  ends_.clear();
  for (auto& [address, record] : by_address_) {
    if (!record.is_held()) continue;
    record.lease.expires = moved(record.lease.expires, by);
    ends_.emplace(record.lease.expires, address);
  }
}

std::optional<net::Ipv4Addr> LeaseTable::first_over(WallTime now) const {
  if (ends_.empty() || ends_.begin()->first > now) return std::nullopt;
  return ends_.begin()->second;
}

std::string LeaseTable::check_record(const Record& record) const {
  const net::Ipv4Addr address = record.lease.address;
  const auto client = by_client_.find(record.key);
  if (!record.key.empty() && (client == by_client_.end() || client->second != address))
    return "not found by its client";
  if (record.awaits_check && record.lease.state != LeaseState::Offered)
    return "awaits a check, and is no offer";
  if (!record.is_held())
    return pool_.contains(address) && !pool_.is_free(address) ? "over, and still taken" : "";
  if (!ends_.contains({record.lease.expires, address})) return "active without an end";
  if (pool_.is_free(address)) return "active and free at once";
  const std::string name = name_of_lease(record.lease);
  if (!name.empty() && named(name) != &record) return "has the name of another";
  return held_through(record.lease.port).contains(address) ? "" : "active, and not found by its port";
}

std::string LeaseTable::check_invariants() const {
  std::size_t held = 0, with_key = 0, with_name = 0, by_port = 0, by_mac = 0, holders = 0, bound = 0,
              declined = 0;
  for (const auto& [address, record] : by_address_) {
    if (record.lease.address != address) return net::to_string(address) + ": filed under another address";
    if (const std::string fault = check_record(record); !fault.empty())
      return net::to_string(address) + ": " + fault;
    const LeaseState state = record.lease.state;
    with_key += record.key.empty() ? 0 : 1;
    with_name += name_of_lease(record.lease).empty() ? 0 : 1;
    held += record.is_held() ? 1 : 0;
    bound += state == LeaseState::Bound ? 1 : 0;
    declined += state == LeaseState::Declined ? 1 : 0;
    by_mac += record.is_held() && state != LeaseState::Declined && !record.lease.port.empty() ? 1 : 0;
  }
  for (const auto& [port, of_port] : by_port_) by_port += of_port.held.size();
  for (const auto& [holder, count] : holders_) holders += count;
  if (with_key != by_client_.size()) return "a client without a record";
  if (with_name != by_name_.size()) return "a name without a lease";
  if (held != ends_.size()) return "an end without an active record";
  if (held != by_port || by_mac != holders) return "what ports hold differs from the records";
  if (bound != bound_ || declined != declined_) return "counts differ from the records";
  return {};
}

}  // namespace vmnat::dhcp
