// SPDX-License-Identifier: Apache-2.0
// MSS clamp: a TCP connection's two ends are told of no larger segments than fit the way between them.
//
// Path MTU discovery fails where ICMP is lost; a smaller MSS does not need it (RFC 4459 3.2, RFC 2923 2.1).
// Both SYNs are looked at, the VM's and the remote's: each names what its sender takes. Example, an uplink of
// 1400 bytes: `maximum segment size 1460` becomes 1360, 1200 stays. An option that contradicts the lengths
// ends the search; nothing is added and nothing is raised. Cold: two segments of a connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace vmnat::dataplane {

// `segment` starts with a whole TCP header and ends where the bytes at hand do. Its checksum is mended.
[[gnu::cold]] void clamp_mss(std::span<std::byte> segment, std::uint16_t most);

}  // namespace vmnat::dataplane
