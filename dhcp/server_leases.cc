// SPDX-License-Identifier: Apache-2.0
// Which address a client gets, and what becomes of the records: offered, bound, ended, loaded, listed.
#include <algorithm>
#include <bit>

#include "dhcp/client_name.h"
#include "dhcp/server.h"

namespace vmnat::dhcp {
namespace {

constexpr std::size_t kMaxClientId = 255;
constexpr std::chrono::seconds kShortestLease{120};  // a client that asks for less gets this
constexpr std::chrono::seconds kKnownFree{30};       // how long an answer, or its absence, is believed
constexpr std::size_t kMostClaims = 16;              // of a port that is a VM's

// FNV-1a over the key, then a finalizer: MACs that differ in one digit start far from each other.
std::uint64_t hash_of(const ClientKey& key, std::uint64_t seed) {
  std::uint64_t hash = 0xcbf29ce484222325 ^ seed;
  for (const char c : key) hash = (hash ^ static_cast<std::uint8_t>(c)) * 0x100000001b3;
  hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccd;
  return hash ^ (hash >> 33);
}

}  // namespace

AddressPool Server::make_pool() const {
  AddressPool pool{settings_.ranges, settings_.gateway};
  for (const Reservation& reservation : settings_.reservations) pool.block(reservation.address);
  return pool;
}

void Server::index_settings() {
  port_of_mac_.clear();
  for (const NetworkPort& port : settings_.ports)
    if (port.mac) port_of_mac_.emplace(*port.mac, port.name);
  reserved_by_mac_.clear();
  reserved_by_port_.clear();
  reserved_names_.clear();
  for (std::size_t i = 0; i < settings_.reservations.size(); ++i) {
    const Reservation& reservation = settings_.reservations[i];
    if (reservation.mac)
      reserved_by_mac_.emplace(*reservation.mac, i);
    else
      reserved_by_port_.emplace(reservation.port, i);
    if (!reservation.hostname.empty()) reserved_names_.insert(name_key(reservation.hostname));
  }
}

const Reservation* Server::reservation_of(net::MacAddr mac, const std::string& port) const {
  if (const auto found = reserved_by_mac_.find(mac); found != reserved_by_mac_.end())
    return &settings_.reservations[found->second];
  if (const auto found = reserved_by_port_.find(port); found != reserved_by_port_.end())
    return &settings_.reservations[found->second];
  return nullptr;
}

// The first byte keeps the kinds apart: a client-id of six bytes is no MAC.
ClientKey Server::key_of(net::MacAddr mac, ByteView client_id, std::string_view port) const {
  const bool has_id = !client_id.empty() && client_id.size() <= kMaxClientId;
  ClientKey key(1, 'm');
  if (settings_.identity == Identity::Port) {
    key[0] = 'p';
    key.append(port);
  } else if (settings_.identity == Identity::ClientId && has_id) {
    key[0] = 'c';
    for (const std::byte byte : client_id) key.push_back(static_cast<char>(byte));
  } else {
    key.append(mac.bytes.begin(), mac.bytes.end());
  }
  return key;
}

// Whether the client, or its MAC, belongs to another port than the one that it asks through.
bool Server::is_held_elsewhere(const Request& request) const {
  const net::MacAddr mac = request.header().chaddr;
  const auto fixed = port_of_mac_.find(mac);
  if (mac == settings_.gateway_mac || (fixed != port_of_mac_.end() && fixed->second != request.port))
    return true;
  if (table_.is_held_elsewhere(mac, request.port)) return true;
  const LeaseTable::Record* record = table_.of(request.key);
  return record != nullptr && record->is_held() && !record->lease.port.empty() &&
         record->lease.port != request.port;
}

// By one MAC there may come a boot ROM and a system, with different client-ids or none: what is reserved for
// them is either's.
bool Server::is_held_by_other(const Request& request, net::Ipv4Addr address) const {
  const LeaseTable::Record* record = table_.at(address);
  if (record == nullptr || !record->is_held() || record->key == request.key) return false;
  const net::MacAddr mac = request.header().chaddr;
  const Reservation* reservation = reservation_of(mac, request.port);
  const bool is_reserved = reservation != nullptr && reservation->address == address;
  const bool is_of_machine = record->lease.state != LeaseState::Declined && record->lease.mac == mac &&
                             record->lease.port == request.port;
  return !(is_reserved && is_of_machine);
}

// Whether this client may have this very address now. A client with a reservation gets nothing else, unless
// its address is held by another for the time being.
bool Server::may_hold(const Request& request, net::Ipv4Addr address) const {
  if (is_held_by_other(request, address)) return false;
  const Reservation* reservation = reservation_of(request.header().chaddr, request.port);
  if (reservation != nullptr && reservation->address == address) return true;
  if (reservation != nullptr && !is_held_by_other(request, reservation->address)) return false;
  return table_.pool().contains(address);
}

// RFC 2131 section 4.3.1's order: the client's current or previous address, the one it asks for, a new one;
// a reservation before all of them.
std::optional<net::Ipv4Addr> Server::choose_address(const Request& request) const {
  const Reservation* reservation = reservation_of(request.header().chaddr, request.port);
  if (reservation != nullptr && may_hold(request, reservation->address)) return reservation->address;
  const LeaseTable::Record* record = table_.of(request.key);
  if (record != nullptr && may_hold(request, record->lease.address)) return record->lease.address;
  const auto requested = request.options().address(Option::RequestedAddress);
  if (requested && may_hold(request, *requested)) return requested;
  return table_.pool().find_free(hash_of(request.key, seed_));
}

// Whether one more address would be too many for the port. Clients that hold one already do not need more.
bool Server::is_over_port_limit(const Request& request) const {
  if (request.limits.leases == 0) return false;
  const LeaseTable::Record* record = table_.of(request.key);
  const bool counted = record != nullptr && record->is_held() && record->lease.port == request.port;
  if (counted || reservation_of(request.header().chaddr, request.port) != nullptr) return false;
  return table_.held_through(request.port).size() >= request.limits.leases;
}

// Whoever has a record of the address is the one who would answer for it; and of a reserved one the
// configuration has said whose it is.
bool Server::needs_check(const Request& request, net::Ipv4Addr address) const {
  if (!settings_.check_before_offer) return false;
  const Reservation* reservation = reservation_of(request.header().chaddr, request.port);
  if (reservation != nullptr && reservation->address == address) return false;
  const LeaseTable::Record* record = table_.at(address);
  if (record != nullptr && record->key == request.key && !record->awaits_check) return false;
  const auto known = known_free_.find(address);
  return known == known_free_.end() || known->second <= request.now;
}

void Server::mark_free(net::Ipv4Addr address, WallTime now) {
  // Now and then, so that a flood on a large network does not look through them for each message.
  if (std::has_single_bit(known_free_.size()))
    std::erase_if(known_free_, [now](const auto& known) { return known.second <= now; });
  known_free_[address] = moved(now, kKnownFree);
}

// The record of an address that this client holds, and holds through this port: nobody ends another's lease.
const LeaseTable::Record* Server::held_record(const Request& request, net::Ipv4Addr address) const {
  const LeaseTable::Record* record = table_.at(address);
  if (record == nullptr || !record->is_held() || record->key != request.key) return nullptr;
  return record->lease.port == request.port ? record : nullptr;
}

std::chrono::seconds Server::lease_time_for(const Request& request) const {
  const auto asked = request.options().long_value(Option::LeaseTime);
  if (!asked) return settings_.lease_time;
  const auto shortest = std::min(kShortestLease, settings_.lease_time);
  return std::clamp(std::chrono::seconds{*asked}, shortest, settings_.lease_time);
}

std::string_view Server::assigned_hostname(const Request& request) const {
  const Reservation* reservation = reservation_of(request.header().chaddr, request.port);
  return reservation == nullptr ? std::string_view{} : std::string_view{reservation->hostname};
}

// Who says no name keeps the one it has: many clients say theirs in their first messages only.
std::string Server::hostname_of(const Request& request) const {
  if (const auto assigned = assigned_hostname(request); !assigned.empty()) return std::string{assigned};
  std::string name = client_name(request.options());
  const LeaseTable::Record* record = table_.of(request.key);
  if (name.empty() && record != nullptr && record->is_held() && record->lease.mac == request.header().chaddr)
    name = record->lease.hostname;
  return reserved_names_.contains(name_key(name)) ? std::string{} : name;
}

Lease Server::lease_for(const Request& request, net::Ipv4Addr address) const {
  const ByteView id = request.options().bytes(Option::ClientId);
  return {.address = address,
          .mac = request.header().chaddr,
          .hostname = hostname_of(request),
          .client_id = id.size() <= kMaxClientId ? Bytes{id.begin(), id.end()} : Bytes{},
          .port = request.port};
}

// A client that is bound to the address already stays so: the offer takes nothing away from it.
void Server::hold_offer(const Request& request, net::Ipv4Addr address, OfferState state) {
  const LeaseTable::Record* record = table_.of(request.key);
  if (record != nullptr && record->lease.address == address && record->lease.state == LeaseState::Bound)
    return;
  Lease lease = lease_for(request, address);
  lease.state = LeaseState::Offered;
  lease.expires = moved(request.now, settings_.offer_time);
  replace(std::move(lease), request.key, state == OfferState::AwaitsCheck);
}

void Server::bind(const Request& request, net::Ipv4Addr address, std::chrono::seconds time) {
  Lease lease = lease_for(request, address);
  lease.state = LeaseState::Bound;
  lease.expires = time == kInfiniteLease ? kNever : moved(request.now, time);
  take_name_from_others(lease);
  changes_.push_back(lease);
  replace(std::move(lease), request.key);
}

// The journal hears of it, else two leases would have the name after a restart.
void Server::take_name_from_others(const Lease& lease) {
  const LeaseTable::Record* other = table_.named(lease.hostname);
  if (other == nullptr || other->lease.address == lease.address) return;
  LeaseTable::Record nameless = *other;
  nameless.lease.hostname.clear();
  changes_.push_back(nameless.lease);
  table_.put(std::move(nameless.lease), std::move(nameless.key));
}

// Sets a client's record. The address that it had before, if another, is free again, and the journal hears
// it.
void Server::replace(Lease lease, const ClientKey& key, bool awaits_check) {
  const LeaseTable::Record* old = table_.of(key);
  if (old != nullptr && old->lease.address != lease.address && old->lease.state != LeaseState::Offered) {
    changes_.push_back(old->lease);
    changes_.back().state = LeaseState::Released;
  }
  table_.put(std::move(lease), key, awaits_check);
}

// Ends an active lease. A declined address is nobody's; else the record remembers whose it was.
void Server::end_lease(Lease lease, LeaseState state, WallTime end) {
  const LeaseTable::Record* record = table_.at(lease.address);
  ClientKey key = state == LeaseState::Declined || record == nullptr ? ClientKey{} : record->key;
  lease.state = state;
  lease.expires = end;
  changes_.push_back(lease);
  table_.put(std::move(lease), std::move(key));
}

std::size_t Server::expire(WallTime now) {
  std::size_t count = 0;
  while (const auto address = table_.first_over(now)) {
    const LeaseTable::Record record = *table_.at(*address);
    if (record.lease.state == LeaseState::Bound) {
      Lease lease = record.lease;
      lease.state = LeaseState::Expired;
      expired_.push_back(lease);
      table_.put(std::move(lease), record.key);
    } else {
      table_.forget(*address);
    }
    ++count;
  }
  return count;
}

bool Server::release(net::Ipv4Addr address) {
  const LeaseTable::Record* record = table_.at(address);
  if (record == nullptr || !record->is_held()) return false;
  end_lease(record->lease, LeaseState::Released, record->lease.expires);
  return true;
}

bool Server::may_claim(const std::string& port, const PortLimits& limits) const {
  const std::size_t pool = table_.pool().size();
  const bool is_limited = limits.leases != 0;
  const std::size_t share = is_limited ? std::min(kMostClaims, pool / 8) : pool / 2;
  if (is_limited && table_.held_through(port).size() >= limits.leases) return false;
  return table_.declined_through(port) < std::max<std::size_t>(share, 1) &&
         table_.declined() < std::max<std::size_t>(pool / 2, 1);
}

bool Server::mark_in_use(net::Ipv4Addr address, const Claim& claim, WallTime now) {
  if (!settings_.gateway.contains(address) || address == settings_.gateway.address) return false;
  const LeaseTable::Record* record = table_.at(address);
  // Else it is the holder, or one in dispute with it.
  const bool is_to_be_had = record == nullptr || !record->is_held() || record->awaits_check;
  if (!is_to_be_had || !may_claim(claim.port, claim.limits)) return false;
  end_lease({.address = address, .mac = claim.mac, .port = claim.port}, LeaseState::Declined,
            moved(now, settings_.decline_time));
  return true;
}

std::vector<Lease> Server::take_changes() {
  return std::exchange(changes_, {});
}

// The clock may have been ahead when it was written: nothing lasts longer than if it began now. Only what is
// reserved may be endless where leases are not: a BOOTP client never renews.
WallTime Server::longest_end(const Lease& lease, WallTime now) const {
  if (lease.state == LeaseState::Declined) return moved(now, settings_.decline_time);
  const Reservation* reservation = reservation_of(lease.mac, lease.port);
  const bool is_reserved = reservation != nullptr && reservation->address == lease.address;
  const bool is_endless = settings_.lease_time == kInfiniteLease || (is_reserved && lease.expires == kNever);
  return is_endless ? kNever : moved(now, settings_.lease_time);
}

std::size_t Server::load(std::span<const Lease> leases, WallTime now) {
  std::vector<Lease> ordered{leases.begin(), leases.end()};
  // Of two records of one client the later one is its, and one that holds before one that is over.
  std::ranges::stable_sort(ordered, std::ranges::greater{}, [](const Lease& lease) {
    return std::pair{is_active(lease.state), lease.expires};
  });
  std::size_t taken = 0;
  for (Lease& lease : ordered) {
    const net::Ipv4Prefix& network = settings_.gateway;
    if (!network.contains(lease.address) || lease.address == network.address) continue;
    lease.expires = std::min(lease.expires, longest_end(lease, now));
    if (lease.expires <= now && is_active(lease.state)) {
      if (lease.state != LeaseState::Bound) continue;
      lease.state = LeaseState::Expired;
    }
    taken += restore({std::move(lease), {}}) ? 1 : 0;
  }
  return taken;
}

// A port that is no more holds nothing, nor does one a MAC that the configuration has given to another since:
// such leases go on, and go to whichever port their client comes by.
bool Server::may_still_hold(const Lease& lease) const {
  if (settings_.ports.empty()) return true;
  const auto fixed = port_of_mac_.find(lease.mac);
  return (fixed == port_of_mac_.end() || fixed->second == lease.port) &&
         std::ranges::any_of(settings_.ports, [&](const NetworkPort& p) { return p.name == lease.port; });
}

// Files a record under its client. By a new `identity` several leases may be one client's: the first is, and
// the others are nobody's until they end. Of several leases of one name the first has it.
bool Server::restore(LeaseTable::Record record) {
  Lease& lease = record.lease;
  const bool is_declined = lease.state == LeaseState::Declined;
  ClientKey key = is_declined ? ClientKey{} : key_of(lease.mac, lease.client_id, lease.port);
  if (table_.of(key) != nullptr) {
    if (!record.is_held()) return false;
    key.clear();
  }
  if (!may_still_hold(lease)) lease.port.clear();
  if (lease.state == LeaseState::Bound && table_.named(lease.hostname) != nullptr) lease.hostname.clear();
  table_.put(std::move(lease), std::move(key), record.awaits_check);
  return true;
}

void Server::reconfigure(NetworkSettings settings) {
  std::vector<LeaseTable::Record> records;
  for (const auto& [address, record] : table_.records()) records.push_back(record);
  std::stable_partition(records.begin(), records.end(),
                        [](const LeaseTable::Record& record) { return record.is_held(); });
  settings_ = std::move(settings);
  index_settings();
  table_ = LeaseTable{make_pool()};
  for (LeaseTable::Record& record : records) {
    const net::Ipv4Addr address = record.lease.address;
    if (settings_.gateway.contains(address) && address != settings_.gateway.address)
      restore(std::move(record));
  }
}

std::vector<Lease> Server::leases() const {
  std::vector<Lease> listed;
  for (const auto& [address, record] : table_.records()) listed.push_back(record.lease);
  for (const Reservation& reservation : settings_.reservations)
    if (table_.at(reservation.address) == nullptr)
      listed.push_back({.address = reservation.address,
                        .mac = reservation.mac.value_or(net::MacAddr{}),
                        .hostname = reservation.hostname,
                        .port = reservation.port,
                        .state = LeaseState::Reserved});
  std::ranges::sort(listed, {}, &Lease::address);
  return listed;
}

}  // namespace vmnat::dhcp
