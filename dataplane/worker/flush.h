// SPDX-License-Identifier: Apache-2.0
// Flush: a worker ends those of its sessions that control selects, or moves them to another port, where their VM
// is now; a bounded number of records a poll.
//
// FlushBox is a mailbox for one request. Control writes the selector and a ticket; the worker sees the
// ticket, erases matching sessions in steps, and writes their number and the ticket back. Neither waits for
// the other, and the box lives as long as the worker, so control may give up waiting at any time.
//
//   control: if (box.is_idle()) ticket = box.ask({.port = 1});      later: box.answer_to(ticket) -> 17
//   worker:  if (box.has_work()) box.flush_some(conntrack, now);    each poll
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "base/ids.h"
#include "base/time.h"
#include "conntrack/conntrack.h"
#include "dataplane/worker/departing_sessions.h"

namespace vmnat::dataplane {

// A session is selected when it matches all that is given; with nothing given every session is.
struct SessionSelector {
  struct Endpoint {
    net::Ipv4Addr address;
    std::optional<net::L4Port> port;
    [[nodiscard]] bool matches(net::Endpoint e) const {
      return e.address == address && (!port || e.port == *port);
    }
  };
  std::optional<std::uint16_t> policy;
  std::optional<PortIndex> port;
  std::optional<net::Protocol> protocol;
  std::uint32_t states = ~std::uint32_t{0};  // a bit per SessionState
  std::optional<Endpoint> internal, external, remote;
  std::optional<net::Ipv4Prefix> internal_beyond;       // their internal address is not of this network
  std::shared_ptr<const DepartingSessions> departures;  // of those alone
  std::shared_ptr<const FilterRules> rules;             // those that these do not accept

  [[nodiscard]] bool matches(const conntrack::Session& session) const;
  [[nodiscard]] const std::vector<ForwardRule>* staying_at(const conntrack::Session& session) const {
    return departures != nullptr ? departures->staying_at(session) : nullptr;
  }
};

class FlushBox {
 public:
  // Records looked at in one poll: some microseconds.
  static constexpr unsigned kRecordsPerPoll = 64;

  // Control's side. `ask` only when idle; tickets count from 1.
  [[nodiscard]] bool is_idle() const;
  // `destination`: they do not end, but are of this port from now on.
  std::uint64_t ask(const SessionSelector& selector, std::optional<PortIndex> destination = {});
  // What the selector holds is not needed any more; only when idle.
  void forget() { selector_ = {}; }
  // How many sessions it was, once all have been looked at. Until the next `ask`.
  [[nodiscard]] std::optional<std::uint64_t> answer_to(std::uint64_t ticket) const;

  // The worker's side.
  [[nodiscard]] bool has_work() const {
    // Pairs with the release store of ask(): the selector is whole.
    return asked_.load(std::memory_order_acquire) != answered_.load(std::memory_order_relaxed);
  }
  [[gnu::cold]] void flush_some(conntrack::Conntrack& conntrack, Time now);

 private:
  SessionSelector selector_;                // control writes while idle, the worker reads while asked
  std::optional<PortIndex> destination_;    // the same
  std::atomic<std::uint64_t> asked_{0};     // written by control
  std::atomic<std::uint64_t> answered_{0};  // written by the worker
  std::uint64_t flushed_ = 0;               // the worker writes while asked, control reads when answered
  std::uint32_t cursor_ = 0;                // the worker's
};

}  // namespace vmnat::dataplane
