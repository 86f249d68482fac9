// SPDX-License-Identifier: Apache-2.0
// Datagrams taken apart and put together by RFC 791, sharing nothing with the code under test.
//
//   cut(frame, 512)                 fragments of 512 bytes of payload each, the last one what is left
//   piece(frame, 8, 24)             the fragment with bytes [8, 24) of the payload
//   joined(fragments)               the whole frame again; nothing when a byte is missing or comes twice
#pragma once

#include <optional>

#include "tests/support/packet_builder.h"

namespace vmnat::test {

Bytes with_id(Bytes frame, std::uint16_t id);
std::uint16_t id_of(const Bytes& frame);

std::size_t payload_size(const Bytes& frame);  // bytes behind the IPv4 header
Bytes piece(const Bytes& frame, std::size_t begin, std::size_t end);
std::vector<Bytes> cut(const Bytes& frame, std::size_t size);

// Of one datagram, in any order: equal addresses, protocol and identification.
std::optional<Bytes> joined(std::vector<Bytes> fragments);

}  // namespace vmnat::test
