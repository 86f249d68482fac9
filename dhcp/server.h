// SPDX-License-Identifier: Apache-2.0
// A DHCP server for one network, as a function of (frame, port, now): RFC 2131's server side, and BOOTP's
// (RFC 951) for clients that an address is reserved for.
//
// It owns the leases and nothing else: no socket, no clock, no randomness. The caller gives it each frame
// received for UDP port 67, sends back what it answers on the same port, and keeps `take_changes()` on
// stable storage before the answer leaves; so a lease is not lost once ACKed, as far as the caller's storage
// takes it:
//
//   if (auto reply = server.answer(frame, {.port = "vm1"}, now)) {
//     store.append(server.take_changes());   // one write and fsync for a whole burst of frames
//     send("vm1", *reply);
//   }
//
// Whose: a client, its MAC and its address belong to the port that holds them, from the offer until the lease
// ends, whether the port is up or down. Example, vm1 with a lease of aa:..:01 for .10: whatever comes by
// vm2's port with that MAC, or for that client (option 61, a relay's message), is held_elsewhere; once the
// lease is over, released, or ended by hand, vm2 may have it. Relays, and bridges that send under a MAC of
// their own, are heeded where `Ingress` says so.
//
// Names are what clients say of themselves, and the last one who says a name has it: as with dnsmasq a VM
// that is made anew has its name although the old one's lease still runs. A reservation's name is its
// client's alone.
//
// Which address: the VM's reservation, else the one it had, else the one it asks for, else the first free
// one from an offset hashed from its identity: the same VM gets the same address without any record, as long
// as `seed` stays the same. One thread uses a server at a time.
#pragma once

#include <map>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>

#include "dhcp/counters.h"
#include "dhcp/frame.h"
#include "dhcp/lease.h"
#include "dhcp/lease_table.h"
#include "dhcp/port_budget.h"
#include "dhcp/reply.h"
#include "dhcp/settings.h"

namespace vmnat::dhcp {

// Where a frame came in.
struct Ingress {
  std::string_view port;  // name of the network's port
  ChecksumState checksum = ChecksumState::Full;
  std::optional<PortLimits> limits = std::nullopt;  // else those of the settings
  bool may_relay = false;                           // messages for others (giaddr, chaddr) are heeded
  bool is_repeated = false;  // given once more after a check: the port's budget was charged before
};

// Who says by ARP that it has an address, and what its port may ask for.
struct Claim {
  net::MacAddr mac;
  std::string port;
  PortLimits limits;
};

class Server {
 public:
  Server(NetworkSettings settings, std::uint64_t seed);

  // The frame to send back on the same port, or nothing: then a counter says why. When the wall clock was
  // set, clock_was_set() says so first.
  std::optional<Frame> answer(ByteView frame, const Ingress& ingress, WallTime now);

  // With check_before_offer: the address that the last frame would have been offered, had it been known to be
  // free. It is held for the client meanwhile, but the frame has no answer yet: ask who has the address, say
  // mark_free or mark_in_use, and give the frame once more.
  struct Check {
    net::Ipv4Addr address;
    net::MacAddr client;  // chaddr
    ClientKey key;        // with the MAC: tells the clients of a port apart
  };
  std::optional<Check> take_check() { return std::exchange(check_, std::nullopt); }
  // Nobody answers for the address: it may be offered for half a minute without being asked about again.
  void mark_free(net::Ipv4Addr address, WallTime now);

  // Leases that were bound, released or declined since the last call, in this order; for the journal.
  std::vector<Lease> take_changes();
  // Leases whose time was over since the last call; the journal knows their ends.
  std::vector<Lease> take_expired() { return std::exchange(expired_, {}); }
  // Takes over leases from before a restart, one an address. What lies outside of the network is left out;
  // answers how many were taken. `now` may be years behind or ahead of their ends: none lasts longer than if
  // it began now.
  std::size_t load(std::span<const Lease> leases, WallTime now);

  // When the next offer, lease or probation ends. `expire` may be called then or later, or never: `answer`
  // does it too.
  [[nodiscard]] std::optional<WallTime> next_expiry() const { return table_.next_end(); }
  // Ends what is over; answers how many records.
  std::size_t expire(WallTime now);
  // The wall clock was set forward, or back: what a lease has left stays as it was.
  void clock_was_set(WallTime::duration by);
  // Ends the lease of an address by hand; false when nobody holds it.
  bool release(net::Ipv4Addr address);
  // Whether a port may keep one more address out of the pool by claiming it. Its claims count as its leases
  // do; and a VM's port has an eighth of the pool and 16 addresses at most, one without a limit half of the
  // pool, and all together half of it: who claims everything keeps little from the others.
  [[nodiscard]] bool may_claim(const std::string& port, const PortLimits& limits) const;
  // The address was seen in use by a station that has no lease for it: not given out for a while. False, and
  // nothing happens, when it may not claim it, or when a client holds the address.
  bool mark_in_use(net::Ipv4Addr address, const Claim& claim, WallTime now);
  // New settings, same leases. What no longer fits is refused at its next renewal.
  void reconfigure(NetworkSettings settings);

  // All records by address, and reservations without a lease as Reserved.
  [[nodiscard]] std::vector<Lease> leases() const;
  [[nodiscard]] const LeaseTable& table() const { return table_; }
  [[nodiscard]] const Counters& counters() const { return counters_; }
  [[nodiscard]] IgnoredCounts ignored_from(const std::string& port) const;
  [[nodiscard]] const NetworkSettings& settings() const { return settings_; }
  // The first broken invariant in words, empty when all hold.
  [[nodiscard]] std::string check_invariants() const { return table_.check_invariants(); }

 private:
  // A request whose frame and header have passed all checks.
  struct Request {
    const Message& message;
    const Datagram& datagram;
    std::string port;
    ClientKey key;
    PortLimits limits;
    WallTime now;

    [[nodiscard]] const MessageHeader& header() const { return message.header; }
    [[nodiscard]] const OptionSet& options() const { return message.options; }
  };
  // monostate: settled, nothing to say. Check: nothing to say yet.
  using Verdict = std::variant<std::monostate, ReplyPlan, Ignored, Check>;

  // server.cc: from frame to decision and back.
  std::optional<Frame> ignore(Ignored reason, const std::string& port);
  std::optional<Frame> postpone(Check check, const Message& message);
  [[nodiscard]] std::optional<Ignored> fault_of(const Datagram& datagram) const;
  [[nodiscard]] std::optional<Ignored> fault_of(const Message& message, const Datagram& datagram,
                                                const Ingress& ingress) const;
  Verdict decide(const Request& request);
  std::optional<Frame> conclude(const Request& request, const Verdict& verdict);

  // server_messages.cc: RFC 2131 section 4.3, one function per message type.
  Verdict on_discover(const Request& request);
  Verdict on_request(const Request& request);
  Verdict on_other_server(const Request& request);
  Verdict on_selecting(const Request& request, net::Ipv4Addr address);
  Verdict on_init_reboot(const Request& request, net::Ipv4Addr address);
  Verdict on_renewing(const Request& request, net::Ipv4Addr address);
  Verdict on_rebinding(const Request& request, net::Ipv4Addr address);
  Verdict on_decline(const Request& request);
  Verdict on_release(const Request& request);
  Verdict on_inform(const Request& request);
  Verdict on_bootp(const Request& request);
  Verdict confirm(const Request& request, net::Ipv4Addr address, std::string_view otherwise);

  // server_leases.cc: which address, and the records.
  [[nodiscard]] ClientKey key_of(net::MacAddr mac, ByteView client_id, std::string_view port) const;
  [[nodiscard]] const Reservation* reservation_of(net::MacAddr mac, const std::string& port) const;
  [[nodiscard]] bool is_held_elsewhere(const Request& request) const;
  [[nodiscard]] bool is_held_by_other(const Request& request, net::Ipv4Addr address) const;
  [[nodiscard]] bool may_hold(const Request& request, net::Ipv4Addr address) const;
  [[nodiscard]] std::optional<net::Ipv4Addr> choose_address(const Request& request) const;
  [[nodiscard]] bool is_over_port_limit(const Request& request) const;
  [[nodiscard]] bool needs_check(const Request& request, net::Ipv4Addr address) const;
  [[nodiscard]] const LeaseTable::Record* held_record(const Request& request, net::Ipv4Addr address) const;
  [[nodiscard]] std::chrono::seconds lease_time_for(const Request& request) const;
  [[nodiscard]] std::string_view assigned_hostname(const Request& request) const;
  [[nodiscard]] std::string hostname_of(const Request& request) const;
  [[nodiscard]] Lease lease_for(const Request& request, net::Ipv4Addr address) const;
  enum class OfferState { Made, AwaitsCheck };
  void hold_offer(const Request& request, net::Ipv4Addr address, OfferState state);
  void bind(const Request& request, net::Ipv4Addr address, std::chrono::seconds time);
  void take_name_from_others(const Lease& lease);
  void replace(Lease lease, const ClientKey& key, bool awaits_check = false);
  bool restore(LeaseTable::Record record);
  [[nodiscard]] bool may_still_hold(const Lease& lease) const;
  [[nodiscard]] WallTime longest_end(const Lease& lease, WallTime now) const;
  void end_lease(Lease lease, LeaseState state, WallTime end);
  void index_settings();
  [[nodiscard]] AddressPool make_pool() const;

  NetworkSettings settings_;
  std::uint64_t seed_;
  LeaseTable table_;
  std::unordered_map<net::MacAddr, std::size_t> reserved_by_mac_;  // index of the reservation in settings_
  std::unordered_map<std::string, std::size_t> reserved_by_port_;
  std::unordered_set<std::string> reserved_names_;             // as name_key has them
  std::unordered_map<net::MacAddr, std::string> port_of_mac_;  // by configuration
  PortBudget<WallTime> budget_;
  std::optional<Check> check_;
  std::map<net::Ipv4Addr, WallTime> known_free_;  // until when
  std::vector<Lease> changes_;
  std::vector<Lease> expired_;
  Counters counters_;
  std::unordered_map<std::string, IgnoredCounts> ignored_by_port_;
};

}  // namespace vmnat::dhcp
