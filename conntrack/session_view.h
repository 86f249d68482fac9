// SPDX-License-Identifier: Apache-2.0
// SessionView: one session as control shows it.
#pragma once

#include <cstdint>

#include "base/ids.h"
#include "base/time.h"
#include "conntrack/tcp_state.h"
#include "net/address.h"
#include "net/protocol.h"

namespace vmnat::conntrack {

struct SessionView {
  net::Endpoint internal;
  net::Endpoint external;
  net::Endpoint remote;
  net::Protocol protocol;
  SessionState state;
  std::uint16_t policy;
  PortIndex vm_port;
  Time last_seen;
  Time expires;
  std::uint64_t packets_out, packets_in, bytes_out, bytes_in;
};

}  // namespace vmnat::conntrack
