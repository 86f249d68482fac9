// SPDX-License-Identifier: Apache-2.0
// How long a flow that is not translated is remembered after its last frame: as long as the NAT keeps a session by
// default, RFC 5382 REQ-5 and RFC 5508 REQ-1. Of UDP no longer than has to be (RFC 4787 REQ-5), because a datagram
// opens what a segment does not.
#pragma once

#include <chrono>

#include "base/time.h"
#include "net/wire.h"

namespace vmnat::dataplane {

constexpr Ticks lifetime_of(net::Protocol protocol) {
  switch (protocol) {
    case net::Protocol::Tcp:
      return std::chrono::minutes(124);
    case net::Protocol::Udp:
      return std::chrono::minutes(2);
    case net::Protocol::Icmp:
      return std::chrono::minutes(1);
  }
  return std::chrono::minutes(10);
}

}  // namespace vmnat::dataplane
