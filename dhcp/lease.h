// SPDX-License-Identifier: Apache-2.0
// A lease: who has which address until when. One record per address, a plain value.
//
//   Offered --REQUEST--> Bound --RELEASE--> Released      (kept: the same VM gets the same address again)
//      | 60 s              |--time is up--> Expired       (likewise)
//      v                   '--DECLINE-----> Declined --time is up--> forgotten
//   forgotten
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "dhcp/message.h"
#include "net/address.h"

namespace vmnat::dhcp {

using WallTime = std::chrono::system_clock::time_point;

// The end of a lease without end: a whole second, as late as a WallTime can be (the year 2262).
inline constexpr WallTime kNever = std::chrono::floor<std::chrono::seconds>(WallTime::max());

// The time moved by this much, either way. kNever stays kNever, and so does what would come after it.
constexpr WallTime moved(WallTime time, WallTime::duration by) {
  if (time == kNever || (by.count() > 0 && time > kNever - by)) return kNever;
  return time + by;
}

// The numbers stand in the journal: never change one.
enum class LeaseState : std::uint8_t {
  Offered = 1,
  Bound = 2,
  Released = 3,
  Expired = 4,
  Declined = 5,
  Reserved = 6,  // in listings only: a reservation whose VM has no lease now
};
std::string_view to_string(LeaseState state);  // "offered", "bound", ...

// Whether nobody else may have the address in this state.
constexpr bool is_active(LeaseState state) {
  return state == LeaseState::Offered || state == LeaseState::Bound || state == LeaseState::Declined;
}

struct Lease {
  net::Ipv4Addr address;
  net::MacAddr mac;
  std::string hostname;  // as client_name.h has it; may be empty
  Bytes client_id;       // option 61 as sent, at most 255 bytes
  std::string port;      // name of the port that it was leased through
  WallTime expires;      // of the offer, the lease, or the time out of the pool; no meaning for Reserved
  LeaseState state = LeaseState::Offered;

  bool operator==(const Lease&) const = default;
};

}  // namespace vmnat::dhcp
