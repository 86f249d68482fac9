// SPDX-License-Identifier: Apache-2.0
// The remote port of an ICMP query's flow, which has none: who asks. Requests and their replies have the same.
#pragma once

#include "net/wire.h"

namespace vmnat::conntrack {

inline constexpr net::L4Port kInsideAsks{};
inline constexpr net::L4Port kRemoteAsks = net::L4Port::from_host(0xffff);

}  // namespace vmnat::conntrack
