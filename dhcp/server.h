// SPDX-License-Identifier: Apache-2.0
// A DHCP server for one network, as a function of (frame, port, now): RFC 2131's server side, and BOOTP's
// (RFC 951) for clients that an address is reserved for.
//
// It owns the leases and nothing else: no socket, no clock, no randomness. The caller gives it each frame
// received for UDP port 67 and sends the answer back on the same port. Before the answer leaves, the caller
// puts `take_changes()` on stable storage: so no lease is lost once it was ACKed, as far as the storage
// holds.
//
//   if (auto reply = server.answer(frame, {.port = "vm1"}, now)) {
//     store.append(server.take_changes());   // one write and fsync for a whole burst of frames
//     send("vm1", *reply);
//   }
//
// To whom: a client, its MAC and its address belong to the port that holds them, from the offer until the
// lease ends, whether the port is up or down. Example, vm1 with a lease of aa:..:01 for .10: what comes by
// vm2's port with that MAC, or for that client (option 61, a relay's message), is refused as held_elsewhere.
// When the lease has run out, was released, or was ended by hand, vm2 may have it. Relays, and bridges that
// send under a MAC of their own, are heeded where `Ingress` says so.
//
// Names: clients say their own. The last client that says a name has it, as with dnsmasq: a VM that is made
// anew gets its name although the old VM's lease still runs. The name of a reservation belongs to its client
// alone.
//
// Which address: the VM's reservation, else the one that it had, else the one that it asks for, else the
// first free one from an offset hashed from its identity. So a VM gets the same address without any record,
// as long as `seed` stays the same.
//
// Threads: one at a time.
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
  std::string_view port;                            // name of the network's port
  std::optional<PortLimits> limits = std::nullopt;  // else those of the settings
  bool may_relay = false;                           // messages for others (giaddr, chaddr) are heeded
  bool is_repeated = false;                         // given again after a Check: the port has paid for it
};

// Who says by ARP that it has an address, and the limits of its port.
struct Claim {
  net::MacAddr mac;
  std::string port;
  PortLimits limits;
};

class Server {
 public:
  Server(NetworkSettings settings, std::uint64_t seed);

  // The frame to send back on the same port. Nothing: a counter says why, or a check is to be made
  // (take_check). When the wall clock was set, clock_was_set() is called first.
  std::optional<Frame> answer(ByteView frame, const Ingress& ingress, WallTime now);

  // With check_before_offer: the address that the last frame would be offered, if nobody uses it. The server
  // keeps the address for the client meanwhile. The caller asks who has the address, calls mark_free or
  // mark_in_use, and gives the frame again, as `is_repeated`.
  struct Check {
    net::Ipv4Addr address;
    net::MacAddr client;  // chaddr
    ClientKey key;        // with the MAC: tells the clients of a port apart
  };
  std::optional<Check> take_check() { return std::exchange(check_, std::nullopt); }
  // Nobody answers for the address: for half a minute it may be offered without another check.
  void mark_free(net::Ipv4Addr address, WallTime now);

  // Leases that were bound, released or declined since the last call, in this order. For the journal.
  std::vector<Lease> take_changes();
  // Leases that have run out since the last call. The journal knows their ends.
  std::vector<Lease> take_expired() { return std::exchange(expired_, {}); }
  // Takes over leases from before a restart, one an address, and returns how many. Leaves out what is not of
  // this network. `now` may be years before or after their ends: none lasts longer than if it began now.
  std::size_t load(std::span<const Lease> leases, WallTime now);

  // Ends the offers, leases and probations that are over; returns how many. `answer` does so, too.
  std::size_t expire(WallTime now);
  // The wall clock was set forward, or back: what a lease has left stays as it was.
  void clock_was_set(WallTime::duration by);
  // Ends the lease of an address by hand; false when nobody holds it.
  bool release(net::Ipv4Addr address);
  // Whether a port may keep one more address out of the pool by claiming it. Claims count as leases of the
  // port do. Besides, a VM's port may claim an eighth of the pool and 16 addresses at most, a port without a
  // limit half of the pool, and all ports together half of it: a port that claims everything leaves most to
  // the others.
  [[nodiscard]] bool may_claim(const std::string& port, const PortLimits& limits) const;
  // A station that has no lease for the address uses it: the address is not given out for a while. False, and
  // nothing happens, when the station may not claim it, or a client holds it.
  bool mark_in_use(net::Ipv4Addr address, const Claim& claim, WallTime now);
  // New settings, same leases. A lease that no longer fits is refused at its next renewal.
  void reconfigure(NetworkSettings settings);

  // All records by address; reservations without a lease as Reserved.
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
  // monostate: the message took effect and has no answer. Check: the answer has to wait.
  using Verdict = std::variant<std::monostate, ReplyPlan, Ignored, Check>;

  // server.cc: from frame to decision and back.
  std::optional<Frame> ignore(Ignored reason, const std::string& port);
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
