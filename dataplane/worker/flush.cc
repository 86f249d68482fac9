// SPDX-License-Identifier: Apache-2.0
#include "dataplane/worker/flush.h"

#include "dataplane/context/filter_rules.h"

namespace vmnat::dataplane {

bool SessionSelector::matches(const conntrack::Session& session) const {
  return (!policy || *policy == session.policy()) && (!port || *port == session.vm_port()) &&
         (!protocol || *protocol == session.protocol()) &&
         (states >> static_cast<unsigned>(session.state()) & 1) != 0 &&
         (!internal || internal->matches(session.internal())) &&
         (!external || external->matches(session.external())) &&
         (!remote || remote->matches(session.remote())) &&
         (!internal_beyond || !internal_beyond->contains(session.internal().address)) &&
         (departures == nullptr || departures->include(session)) &&
         (rules == nullptr || !rules->accepts(session));
}

bool FlushBox::is_idle() const {
  // Pairs with the release store of flush_some(): the worker has done with the selector.
  return answered_.load(std::memory_order_acquire) == asked_.load(std::memory_order_relaxed);
}

std::uint64_t FlushBox::ask(const SessionSelector& selector, std::optional<PortIndex> destination) {
  selector_ = selector;
  destination_ = destination;
  const std::uint64_t ticket = asked_.load(std::memory_order_relaxed) + 1;
  asked_.store(ticket, std::memory_order_release);
  return ticket;
}

std::optional<std::uint64_t> FlushBox::answer_to(std::uint64_t ticket) const {
  // Pairs with the release store of flush_some(): the number is final.
  if (answered_.load(std::memory_order_acquire) != ticket) return std::nullopt;
  return flushed_;
}

void FlushBox::flush_some(conntrack::Conntrack& conntrack, Time now) {
  if (cursor_ == 0) flushed_ = 0;
  conntrack.visit_some(cursor_, kRecordsPerPoll, [&](conntrack::Session& session) {
    // A mapping outlives its own sessions where others have its port: it has to leave the port, too.
    if (const auto* staying = selector_.staying_at(session))
      conntrack.unmap_others(session.external(), session.protocol(), DepartingSessions::mapped_by(*staying));
    if (!selector_.matches(session)) return;
    if (destination_)
      conntrack.move_to(session, *destination_, session.internal_mac());
    else
      conntrack.erase(session, now);
    ++flushed_;
  });
  if (cursor_ == 0) answered_.store(asked_.load(std::memory_order_relaxed), std::memory_order_release);
}

}  // namespace vmnat::dataplane
