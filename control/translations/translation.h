// SPDX-License-Identifier: Apache-2.0
// Translation: a line of the log of translations, before it is written in anybody's form.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "conntrack/session_events.h"

namespace vmnat::control {

enum class TranslationEvent : std::uint8_t {
  Started,        // the log; what was under way before has ended, but for what is Present
  Stopped,        // likewise
  Present,        // a session or block that there was when the log started
  Created,        // a session
  Ended,          // it
  BlockGiven,     // of ports, to an internal address
  BlockReturned,  // it
  Lost,           // so many events that are not in the log
};
inline constexpr std::string_view kTranslationEventNames[] = {
    "started", "stopped", "present", "created", "ended", "block_given", "block_returned", "lost"};
inline std::string_view to_string(TranslationEvent event) {
  return kTranslationEventNames[static_cast<unsigned>(event)];
}

// Of all but the first two and the last: `session`. Of a block: internal.address has `block_ports` ports of
// external.address, from external.port on, of every protocol.
struct Translation {
  using WallTime = std::chrono::system_clock::time_point;

  WallTime time;
  TranslationEvent event{};
  std::uint16_t block_ports = 0;  // 0: it is about a session
  net::MacAddr mac;
  std::string_view network, port;  // names, as JSON strings with their quotes
  conntrack::SessionView session{};
  std::uint64_t lost = 0;
};

}  // namespace vmnat::control
