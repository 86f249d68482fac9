// SPDX-License-Identifier: Apache-2.0
// The lease records of one network, found by address, by client and by their end; and the pool, kept equal
// to them: an address is taken there as long as its record here is active.
//
// A client has at most one record, an address too. Records that are over (Released, Expired) stay until the
// address is given to another client: so a VM that comes back finds its address again.
// The key of a record says whose it is: bytes made of MAC, client-id or port, see Identity. A Declined
// record has an empty key: nobody's.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
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
    [[nodiscard]] bool is_held() const { return is_active(lease.state); }
  };

  explicit LeaseTable(AddressPool pool) : pool_(std::move(pool)) {}

  [[nodiscard]] const Record* at(net::Ipv4Addr address) const;
  [[nodiscard]] const Record* of(const ClientKey& key) const;
  [[nodiscard]] const AddressPool& pool() const { return pool_; }
  [[nodiscard]] std::size_t held_through(const std::string& port) const;  // active records of a port
  [[nodiscard]] const std::map<net::Ipv4Addr, Record>& records() const { return by_address_; }

  // Sets the record of lease.address; the client's record of another address goes away.
  void put(Lease lease, ClientKey key);
  void forget(net::Ipv4Addr address);
  // Moves the end of every active record, when the wall clock was moved.
  void shift_ends(WallTime::duration by);
  [[nodiscard]] std::optional<WallTime> next_end() const;
  // The address whose record ends first, when that is not after `now`.
  [[nodiscard]] std::optional<net::Ipv4Addr> first_over(WallTime now) const;

  [[nodiscard]] std::string check_invariants() const;

 private:
  void link(const Record& record);
  void unlink(const Record& record);

  AddressPool pool_;
  std::map<net::Ipv4Addr, Record> by_address_;
  std::unordered_map<ClientKey, net::Ipv4Addr> by_client_;
  std::set<std::pair<WallTime, net::Ipv4Addr>> ends_;  // of active records
  std::unordered_map<std::string, std::size_t> held_by_port_;
};

}  // namespace vmnat::dhcp
