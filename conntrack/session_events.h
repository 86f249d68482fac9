// SPDX-License-Identifier: Apache-2.0
// What a worker tells those who listen of its sessions, as it happens: that one has opened, its TCP state has changed,
// it has ended. And of blocks of ports that VMs get (policy.h): that one is given, and returned.
//
//   worker     add(event): a copy into a ring of a fixed size; what finds no room is counted as missed
//   listener   take(event) ..., on a thread of its own
//
// A session's life, TCP:  Opened syn-outbound | Changed established | Changed closing | Ended, with what it has counted.
// UDP has Opened and Ended alone. A session that goes on from an earlier process is told when it changes or ends.
#pragma once

#include <memory>
#include <vector>

#include "base/cache_line.h"
#include "base/event_ring.h"
#include "conntrack/session_view.h"

namespace vmnat::conntrack {

enum class EventKind : std::uint8_t { Opened, Changed, Ended, BlockGiven, BlockReturned };

struct SessionEvent {
  EventKind kind{};
  std::uint16_t block_ports =
      0;  // of a block: so many from session.external on; the internal address has them
  net::MacAddr mac;
  Time when{};
  SessionView session{};
};

struct VmBlock;
// Of a block of the external address.
SessionEvent event_of(EventKind kind, const VmBlock& block, net::Ipv4Addr external, Time when);

class SessionEventRing : public EventRing<SessionEvent> {
 public:
  enum class About : std::uint8_t { Sessions, Blocks };

  SessionEventRing(About about, std::size_t events) : EventRing(events), about_(about) {}

  // `is_in_block`: the session's port is of a VM's block. One that listens to blocks hears of the other sessions alone.
  [[nodiscard]] bool wants(EventKind kind, bool is_in_block) const {
    const bool is_of_block = kind >= EventKind::BlockGiven;
    return about_ == About::Blocks ? is_of_block || !is_in_block : !is_of_block;
  }

 private:
  alignas(kCacheLineSize) const About about_;  // else it would lie on the listener's line
};

// Everybody's ring of one worker; of all workers, as published.
using SessionEventRings = std::vector<std::shared_ptr<SessionEventRing>>;
using SessionListeners = std::vector<SessionEventRings>;

}  // namespace vmnat::conntrack
