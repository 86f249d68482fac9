// SPDX-License-Identifier: Apache-2.0
// Conntrack: what one worker's NAT remembers.
//
// Usage, by the worker that owns it:
//
//   find_burst(keys, found)                    each frame's session, either direction; nullptr: none
//   session->rewrite<Direction::Outbound>()    how to translate, decided when the session opened
//   session->count<...>(bytes)
//   session->keep_alive<...>(now), or for TCP follow_tcp<...>(*session, segment, now)
//   open_outbound(flow, policy_id, now)        cold: a frame from a VM without a session
//   expire(now, budget)                        each poll: bounded work, all sessions seen within 4 s
//
// Theory of operation. Records stand in one array. A TagIndex finds a record by its outbound key (internal,
// remote) and by its inbound key (external, remote). A new TCP, UDP or ICMP query session needs an external
// endpoint. It gets the first of these that can be had:
//
//   1. the endpoint of its internal endpoint's mapping, if mapping is endpoint-independent and one exists,
//   2. a port without sessions (port_pool.h) on the paired address: a hash of the internal one chooses it
//      (RFC 6888 REQ-2),
//   3. a port without sessions, on the other addresses in turn,
//   4. by overload, a port that has sessions, but none towards this remote; again the paired address first.
//
// It is refused only when no legal tuple is left. Example, one address:
//
//   192.168.122.10:40000 -> 198.51.100.1:443   opens 203.0.113.2:40000, bound to 192.168.122.10:40000
//   192.168.122.10:40000 -> 198.51.100.2:443   shares it: 203.0.113.2:40000
//   192.168.122.11:40000 -> 198.51.100.1:443   another port: 203.0.113.2:51613
//
// External addresses come, drain and go while the worker runs (external_addresses.h). Of an address that
// drains no port is given out, but a mapping that is there serves its internal endpoint, so that its peers
// find it where it was. By a port that was reserved since it was given out, and by an address that the network
// loses, nothing opens: an endpoint that was mapped there is mapped anew.
//
// An internal address may have an external one for itself (static NAT): no pool has it, and there ports and
// identifiers are kept, and protocols without ports have a place of their own. A flow that is not translated has
// its internal endpoint for the external one: one key finds its session from either side.
//
// A policy may have more pools than one, and flows are told which is theirs. An internal endpoint then has a mapping
// in each pool (RFC 4787 REQ-1 holds within a pool).
//
// A static forward is a mapping, too. What a VM opens from a forward's internal endpoint leaves by the
// forward's external endpoint, whatever `mapping` says. It is one session with what the same remote sends to
// the forward.
//
// When the table fills, half-open sessions go first: those that nobody has answered, and those that are
// closing. Sessions that are assured (Session::is_assured) are never ended for others. Of a table of 4096 for
// 4 VMs, each VM has 2048 at most (and remotes open 1024 to it at most), and is sure of 256
// (conntrack_admission.cc).
//
// Threads: every member function belongs to the worker but those marked "any thread", which read whole
// records without delaying it. create() runs on control; the functions that packets reach allocate nothing.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/counter.h"
#include "base/ids.h"
#include "base/random.h"
#include "base/time.h"
#include "base/token_bucket.h"
#include "conntrack/mappings.h"
#include "conntrack/permissions.h"
#include "conntrack/port_pool.h"
#include "conntrack/remote_planes.h"
#include "conntrack/revival.h"
#include "conntrack/session.h"
#include "conntrack/session_events.h"
#include "conntrack/session_view.h"

namespace vmnat::conntrack {

struct OutboundFlow {
  FlowKey key;  // (internal, remote)
  PortIndex vm_port = 0;
  net::MacAddr mac;
  std::uint8_t tcp_flags = 0;
  net::L4Port probable_port{};                    // set by prefetch_open
  std::optional<net::Endpoint> static_mapping{};  // external endpoint of the forward to `key`'s internal one
  // External address that is the internal one's alone; the internal address itself: the flow is not translated.
  std::optional<net::Ipv4Addr> own_address{};
  PoolIndex pool = 0;  // of the policy, where it is none of these
};

// A frame from outside without a session: (external, remote). `forward_to`: the internal endpoint of a static
// forward, or of the one whose own the external address is; the same endpoint: it is not translated. Without it, an
// existing mapping and its policy's filtering decide.
struct InboundFlow {
  FlowKey key;
  std::optional<net::Endpoint> forward_to;
  PortIndex vm_port = 0;  // if known; else move_to sets it
  net::MacAddr mac;
  std::uint8_t tcp_flags = 0;
};

struct Opened {
  Session* session;  // nullptr unless the verdict is Opened
  Verdict verdict;
};

struct Statistics {
  std::uint64_t active = 0;
  std::uint64_t created = 0;
  std::uint64_t restored = 0;  // of an earlier process
  std::uint64_t expired = 0;
  std::uint64_t erased = 0;         // by flush
  std::uint64_t early_dropped = 0;  // half-open, ended for a new session
  std::uint64_t disbelieved = 0;    // TCP segments of remotes that were not believed
  std::uint64_t overloaded = 0;     // sessions whose port had others
  std::uint64_t mappings = 0;       // endpoint-independent
};

class Conntrack {
 public:
  struct Settings {
    std::uint32_t capacity = 65536;  // sessions, at most 2^30
    std::uint64_t seed = 0;          // secret and random; equal seeds and calls give equal results
    WorkerIndex worker = 0;
    unsigned vm_ports = 1;  // each vm_port is below this
    unsigned guests = 1;    // VM ports whose sessions this worker has at first: they share the table
    Placement placement{Pages::Huge};
    std::span<Session> records{};  // `capacity` of them, blank, which outlive the table; empty: its own
  };
  static constexpr unsigned kMaxBurst = 64;

  // nullptr: capacity or policies out of bounds, or no memory. `ports` outlives it, the addresses and the
  // memory of the policies as long as it follows them.
  static std::unique_ptr<Conntrack> create(const Settings& settings, ExternalPorts& ports,
                                           const ExternalAddresses& addresses,
                                           std::span<const NatPolicy> policies);
  // After a change: the policies by id. Existing sessions keep their endpoints and take the new timeouts.
  void set_policies(std::span<const NatPolicy> policies);
  // The same, with other external addresses; the former ones are still there. No session has an address that
  // goes. What the new table does not allow any more goes on, and nothing opens by it.
  void follow(const ExternalAddresses& addresses, std::span<const NatPolicy> policies);
  // Who is told from now on what becomes of sessions; they outlive the next call. nullptr: nobody.
  void tell(const SessionEventRings* listeners) { listeners_ = listeners; }

  // Sessions of an earlier process go on. Between the two calls for all workers of `ports`, before any of them
  // runs, burst by burst; each session is tried as it is, and what became of it is counted.
  void begin_restore() { pool_.let_go(); }
  void restore(std::span<const Former> burst, Time now, Revivals& counts);
  void end_restore() { pool_.hold_one_each(); }
  // Ports have come or gone: so many share the table from now on. Sessions beyond a new share stay.
  void share_among(unsigned guests);

  // Up to kMaxBurst keys; found[i] is keys[i]'s session or nullptr. Three memory stages over the whole burst.
  // Returns how many were found.
  unsigned find_burst(std::span<const FlowKey> keys, Session** found);
  [[nodiscard]] Session* find(const FlowKey& key);

  // Sessions of the present burst: no eviction ends them. Holds until the next call.
  void spare(std::span<Session* const> in_play) { in_play_ = in_play; }
  // For a frame without a session. If an earlier frame of the burst has opened it meanwhile, it is returned.
  Opened open_outbound(const OutboundFlow& flow, unsigned policy_id, Time now);
  Opened open_inbound(const InboundFlow& flow, unsigned policy_id, Time now);
  // Starts the memory reads of open_outbound for up to kMaxBurst new flows of one network, and chooses their
  // probable ports. Called before the first of them is opened.
  void prefetch_open(std::span<OutboundFlow> flows, unsigned policy_id);

  // The internal endpoint that a mapping's external endpoint leads to, whatever the filter says.
  [[nodiscard]] std::optional<net::Endpoint> mapped_internal(net::Endpoint external,
                                                             net::Protocol protocol) const;

  // Whether such a packet may open a session. Of TCP: a SYN, or a segment of a connection that goes on, where
  // the policy picks these up.
  [[nodiscard]] bool may_open(net::Protocol protocol, std::uint8_t tcp_flags, unsigned policy_id) const;
  // Which of `addresses` external addresses an internal one stays on as long as there is a free port. The
  // same on all workers and after a restart.
  static std::size_t paired(net::Ipv4Addr internal, std::size_t addresses);

  // Whether the policy's filter lets this remote send to a mapping without a session (RFC 4787 section 5).
  [[nodiscard]] bool admits(const FlowKey& inbound, unsigned policy_id) const {
    return is_let_in(inbound, policies_[policy_id].filtering);
  }

  // A segment has passed: it may change its session's state, and renew its time. A segment of the remote that
  // is not believed does neither (conntrack_tcp_tracking.cc).
  template <Direction direction>
  void follow_tcp(Session& session, const TcpSegment& segment, Time now) {
    if (!session.is_flowing(segment.flags)) return advance<direction>(session, segment, now);
    session.track<direction>(segment);
    if (direction == Direction::Outbound) session.refresh(now);
  }
  // The VM was seen at this port with this MAC. Writes nothing unless that is new.
  void move_to(Session& session, PortIndex vm_port, net::MacAddr mac) {
    if (!session.is_at(vm_port, mac)) move(session, vm_port, mac);
  }

  // Looks at up to `budget` records, at a pace of one turn in 4 s, and erases the sessions that have timed
  // out. Returns how many.
  unsigned expire(Time now, unsigned budget);
  void erase(Session& session, Time now);
  // What is mapped to the external endpoint, if it is another internal endpoint than this one, is not any more.
  void unmap_others(net::Endpoint external, net::Protocol protocol, net::Endpoint internal);
  // Looks at up to `budget` records from `cursor` on (0 at first): `visit(Session&)`, which may erase the session. Done
  // when `cursor` is 0 again. For flush, at each poll.
  template <typename Visitor>
  void visit_some(std::uint32_t& cursor, unsigned budget, Visitor visit);

  // Any thread.
  [[nodiscard]] Statistics statistics() const;
  // The block of a VM that begins at a block of the address's ports; nothing: none does. Any thread.
  [[nodiscard]] std::optional<VmBlock> vm_block_at(ExternalIndex external, unsigned first) const {
    return blocks_.block_at(external, first);
  }
  [[nodiscard]] std::uint32_t ports_used(ExternalIndex external, PortSpace space) const {
    return pool_.used(external, space);
  }
  // Sessions that have the external address; any thread.
  [[nodiscard]] std::uint64_t sessions_at(ExternalIndex external) const {
    return sessions_at_[external].get();
  }
  // Bytes of all tables touched so far; for benchmarks and tests, takes milliseconds.
  [[nodiscard]] std::size_t memory_used() const;
  // The pages of each table that the worker may touch soon; for LookAhead.
  static constexpr unsigned kExtents = 8;
  [[nodiscard]] std::array<Extent, kExtents> touched_soon() const;
  [[nodiscard]] std::uint32_t capacity() const { return capacity_; }
  // Records from the first on that have been used: what expire() goes through. Any thread.
  [[nodiscard]] std::uint32_t high_water() const { return high_water_.load(std::memory_order_relaxed); }
  // Up to out.size() sessions from `cursor` on (0 at first); done when it returns fewer. A session that lives
  // throughout is seen exactly once, whatever happens to others meanwhile.
  std::size_t snapshot(std::uint32_t& cursor, std::span<SessionView> out) const;

  // Index entries == 2 x sessions, ports used == slots used == the sums over the sessions, and each part's
  // own invariants. For debugging and tests, on the worker or while it rests; slow. `why` gets the first
  // violation.
  [[nodiscard]] bool check_invariants(std::string* why) const;

 private:
  struct Allowance {
    std::uint32_t sessions;
    DebtBucket opened_lately;
  };
  struct VmPort {
    std::array<Allowance, 2> opened_by;  // what remotes open to a VM takes nothing from what it opens itself
  };
  struct Counters {
    Counter created, restored, expired, erased, early_dropped, active, overloaded, mappings, disbelieved;
  };
  struct Choice {  // of an external endpoint
    ExternalIndex external = 0;
    net::L4Port port;
    std::uint8_t flags = Session::kSpoken;
  };

  static constexpr std::uint32_t kNoRecord = 0xffff'ffff;
  static constexpr unsigned kTimeoutRow = 16;

  Conntrack(const Settings& settings, ExternalPorts& ports, const ExternalAddresses& addresses);
  [[nodiscard]] bool reserved() const;

  [[nodiscard]] TagIndex::Place place(const FlowKey& key) const { return index_.place_of(hash_(key)); }
  [[nodiscard]] std::uint32_t number(const Session& session) const {
    return static_cast<std::uint32_t>(&session - sessions_.data());
  }
  [[nodiscard]] bool is_taken(const FlowKey& inbound) const;

  template <Direction direction>
  void advance(Session& session, const TcpSegment& segment, Time now) {
    direction == Direction::Outbound ? advance_outbound(session, segment, now)
                                     : advance_inbound(session, segment, now);
  }
  [[gnu::cold]] void advance_outbound(Session& session, const TcpSegment& segment, Time now);
  [[gnu::cold]] void advance_inbound(Session& session, const TcpSegment& segment, Time now);

  template <typename Serves>
  std::optional<ExternalIndex> first_address(std::span<const ExternalIndex> pool, net::Ipv4Addr internal,
                                             Serves serves) const;
  static Opened refused(Verdict verdict) { return {nullptr, verdict}; }
  ExternalIndex probable_external(OutboundFlow& flow, const NatPolicy& policy, PortSpace space);
  Mappings::Slot probable_slot(OutboundFlow& flow, const NatPolicy& policy, TagIndex::Place mapping);
  [[nodiscard]] std::uint32_t sessions_of(PortIndex vm_port) const {
    return sessions_of(vm_port, Direction::Outbound) + sessions_of(vm_port, Direction::Inbound);
  }
  [[nodiscard]] std::uint32_t sessions_of(PortIndex vm_port, Direction opener) const {
    return vm_ports_[vm_port].opened_by[static_cast<unsigned>(opener)].sessions;
  }
  [[nodiscard]] std::uint32_t most_sessions(Direction opener, const NatPolicy& policy) const;
  [[nodiscard]] bool has_room_for(PortIndex vm_port) const;
  Verdict admit(PortIndex vm_port, Direction opener, const NatPolicy& policy, Time now);
  template <typename Predicate>
  bool evict(Time now, Predicate yields);
  [[nodiscard]] bool is_in_play(const Session& session) const;
  void enter_port(PortIndex vm_port, Direction opener);
  void leave_port(PortIndex vm_port, Direction opener);
  Opened open(const Session::Identity& identity, std::uint8_t flags, SessionState state, Time now);
  bool claim_port(const FlowKey& inbound);
  [[nodiscard]] bool may_share(const NatPolicy& policy, ExternalIndex external, net::L4Port port) const;
  bool share_mapping(const OutboundFlow& flow, const NatPolicy& policy, Choice& choice);
  [[nodiscard]] bool is_let_in(const FlowKey& inbound, Filtering filtering) const;
  [[nodiscard]] std::optional<net::Endpoint> admitted_internal(const InboundFlow& flow,
                                                               const NatPolicy& policy);
  Verdict choose_external(const OutboundFlow& flow, unsigned policy_id, Time now, Choice& choice);
  bool choose_static(const OutboundFlow& flow, Choice& choice);
  Verdict choose_own(const OutboundFlow& flow, Choice& choice);
  bool take_new_port(const OutboundFlow& flow, unsigned policy_id, Time now, Choice& choice);
  bool take_port_singly(const OutboundFlow& flow, const NatPolicy& policy, Time now, Choice& choice);
  bool take_port_of_block(const OutboundFlow& flow, unsigned policy_id, Time now, Choice& choice);
  bool take_port_of_own(const OutboundFlow& flow, const NatPolicy& policy, PortPool::Resting resting,
                        Time now, Choice& choice);
  [[nodiscard]] bool may_give(const VmBlock& block, std::span<const ExternalIndex> pool) const;
  ExternalIndex probable_of_block(OutboundFlow& flow, const NatPolicy& policy);
  bool take_block(const OutboundFlow& flow, unsigned policy_id, Time now);
  template <typename Visitor>
  void for_each_block(ExternalIndex external, Visitor visit);
  void return_blocks(Time now);
  void return_block(const VmBlock& block, Time now);
  void leave_blocks(const ExternalAddresses& next);
  void revive_block(const Former& former, Mappings::Slot slot);
  bool overload(const OutboundFlow& flow, const NatPolicy& policy, Choice& choice);
  std::optional<net::L4Port> overloadable_port(ExternalIndex external, const FlowKey& outbound);
  std::optional<net::L4Port> exact_overloadable_port(ExternalIndex external, const FlowKey& outbound);
  std::uint64_t taken_towards(std::uint64_t remote, ExternalIndex external, unsigned block);
  Verdict choose_portless(const OutboundFlow& flow, const NatPolicy& policy, Choice& choice);

  [[nodiscard]] Revival reviving(const Former& former, Time now) const;
  Revival revive(const Former& former, Time now);
  void restore_few(std::span<const Former> few, Time now, Revivals& counts);
  void prefetch_revive(const Session& former) const;
  [[nodiscard]] bool may_keep(Mappings::Slot slot) const;
  [[nodiscard]] bool has_mapping_at_odds(const Former& former, Mappings::Slot slot) const;
  bool take_former_port(const Former& former, Mappings::Slot slot);

  bool enter(Session& session, Time now);
  bool insert(const Session& session);
  Session& take_record();
  void attach(Session& session, PortIndex vm_port, net::MacAddr mac, Time now);
  void move(Session& session, PortIndex vm_port, net::MacAddr mac);
  void remove(Session& session, Time now);
  void change_state(Session& session, SessionState next, Time now);
  void announce(EventKind kind, const Session& session, Time now) {
    if (listeners_ != nullptr) tell_listeners(kind, session, now);
  }
  void announce(EventKind kind, const VmBlock& block, Time now) {
    if (listeners_ != nullptr) tell_listeners(kind, block, now);
  }
  [[gnu::cold]] void tell_listeners(EventKind kind, const Session& session, Time now);
  [[gnu::cold]] void tell_listeners(EventKind kind, const VmBlock& block, Time now);
  void prefetch_remove(const Session& session) const;
  void release_external(const FlowKey& inbound, Time now);
  [[nodiscard]] bool is_expired(const Session& session, Time now) const;
  [[nodiscard]] Ticks timeout_of(const Session& session) const;
  [[nodiscard]] SessionView view(const Session& copy) const;
  [[nodiscard]] bool are_blocks_consistent() const;

  std::uint32_t capacity_;
  WorkerIndex worker_;
  ExternalPorts& ports_;
  const ExternalAddresses* addresses_;
  std::atomic<unsigned> address_count_;  // its size, for other threads
  FlowHash hash_;
  Random random_;
  std::span<const NatPolicy> policies_;
  const SessionEventRings* listeners_ = nullptr;
  Time now_{};  // of the last call of expire()

  ReservedArray<Session> sessions_;
  ReservedArray<Counter> sessions_at_;  // by external address
  TagIndex index_;
  std::atomic<std::uint32_t> high_water_{0};  // records below it have been used
  std::uint32_t first_free_ = kNoRecord;      // a list through the free records below

  Mappings mappings_;
  PortPool pool_;
  VmBlocks blocks_;
  unsigned blocks_looked_at_ = 0;  // of addresses, by return_blocks()
  RemotePlanes planes_;
  Permissions permissions_;
  ReservedArray<VmPort> vm_ports_;
  unsigned vm_port_count_;
  std::array<std::uint32_t, 2> shares_{};  // most sessions of a VM port, by opener (conntrack_admission.cc)
  std::uint32_t part_ = 0;                 // sessions that each VM port is sure of
  std::uint64_t all_parts_ = 0;            // the sum of the parts
  std::uint64_t parts_taken_ = 0;          // how much of the sum is in use
  std::span<Session* const> in_play_;
  std::uint32_t evict_position_ = 0;                    // where the last look for a session to evict ended
  ReservedArray<std::atomic<std::uint32_t>> timeouts_;  // [policy][state], ticks

  struct Sweep {
    std::uint32_t position = 0;
    std::uint32_t length = 0;
    Time started{};
  } sweep_;
  Counters counters_{};
};

// The pool's first external address that serves. The paired one is asked first, then those after it, round
// to it again. An address that drains keeps its place, so that the others stay paired as they were.
template <typename Serves>
std::optional<ExternalIndex> Conntrack::first_address(std::span<const ExternalIndex> pool,
                                                      net::Ipv4Addr internal, Serves serves) const {
  const std::size_t count = pool.size();
  std::size_t at = paired(internal, count);
  for (std::size_t left = count; left > 0; --left) {
    const ExternalIndex external = pool[at];
    if (!addresses_->is_draining(external) && serves(external)) return external;
    at = at + 1 == count ? 0 : at + 1;
  }
  return std::nullopt;
}

template <typename Visitor>
void Conntrack::visit_some(std::uint32_t& cursor, unsigned budget, Visitor visit) {
  const std::uint32_t end = high_water_.load(std::memory_order_relaxed);
  for (; budget > 0 && cursor < end; ++cursor, --budget)
    if (Session& session = sessions_[cursor]; session.in_use()) visit(session);
  if (cursor >= end) cursor = 0;
}

}  // namespace vmnat::conntrack
