// SPDX-License-Identifier: Apache-2.0
// The lease records of one network, found by address, by client, by port and by their end; and the pool of
// addresses. An address is taken in the pool exactly as long as its record is active.
//
// A client has at most one record, and so has an address. Records that are over (Released, Expired) stay
// until the address is given to another client: so a VM that comes back finds its address again. The key of a
// record says whose it is, in bytes made of MAC, client-id or port (Identity). A record with an empty key is
// nobody's: one that is Declined, or whose client has another record. A name belongs to one lease: no two
// Bound records have the same name (client_name.h, name_key). A port holds the active records, and only
// these. Example, vm1 with a lease of aa:..:01 for .10 and a claim on .20 (Declined) holds both addresses,
// and the MAC aa:..:01.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "dhcp/address_pool.h"
#include "dhcp/lease.h"

namespace vmnat::dhcp {

using ClientKey = std::string;

class LeaseTable {
 public:
  struct Record {
    Lease lease;
    ClientKey key;
    bool awaits_check = false;  // an offer that waits for a check whether somebody uses the address
    [[nodiscard]] bool is_held() const { return is_active(lease.state); }
  };

  explicit LeaseTable(AddressPool pool) : pool_(std::move(pool)) {}

  [[nodiscard]] const Record* at(net::Ipv4Addr address) const;
  [[nodiscard]] const Record* of(const ClientKey& key) const;
  [[nodiscard]] const Record* named(std::string_view hostname) const;  // the lease of this name
  [[nodiscard]] const AddressPool& pool() const { return pool_; }
  [[nodiscard]] const std::map<net::Ipv4Addr, Record>& records() const { return by_address_; }

  // The addresses of a port's active records.
  [[nodiscard]] const std::set<net::Ipv4Addr>& held_through(const std::string& port) const;
  // Whether a lease or an offer of this MAC is held through another port than this.
  [[nodiscard]] bool is_held_elsewhere(net::MacAddr mac, const std::string& port) const;
  // Addresses that are out of the pool because a station without a lease uses them; of these, a port's own.
  [[nodiscard]] std::size_t declined() const { return declined_; }
  [[nodiscard]] std::size_t declined_through(const std::string& port) const;
  [[nodiscard]] std::size_t bound() const { return bound_; }

  // Sets the record of lease.address; the client's record of another address goes away.
  void put(Lease lease, ClientKey key, bool awaits_check = false);
  void forget(net::Ipv4Addr address);
  // Moves the end of every active record, when the wall clock was moved.
  void shift_ends(WallTime::duration by);
  // The address whose record ends first, when that is not after `now`.
  [[nodiscard]] std::optional<net::Ipv4Addr> first_over(WallTime now) const;

  [[nodiscard]] std::string check_invariants() const;

 private:
  struct OfPort {
    std::set<net::Ipv4Addr> held;
    std::size_t declined = 0;  // of these
  };
  // Counts a record in (`sign` 1) or out (-1).
  void count(const Lease& lease, int sign);
  void link(const Record& record);
  void unlink(const Record& record);
  // The key of the record's name; empty when it has none.
  [[nodiscard]] static std::string name_of_lease(const Lease& lease);
  [[nodiscard]] std::string check_record(const Record& record) const;

  AddressPool pool_;
  std::map<net::Ipv4Addr, Record> by_address_;
  std::unordered_map<ClientKey, net::Ipv4Addr> by_client_;
  std::unordered_map<std::string, net::Ipv4Addr> by_name_;               // of leases
  std::set<std::pair<WallTime, net::Ipv4Addr>> ends_;                    // of active records
  std::unordered_map<std::string, OfPort> by_port_;                      // that hold something
  std::map<std::pair<net::MacAddr, std::string>, std::size_t> holders_;  // of offers and leases: how many
  std::size_t bound_ = 0;
  std::size_t declined_ = 0;
};

}  // namespace vmnat::dhcp
