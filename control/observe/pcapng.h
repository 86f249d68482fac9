// SPDX-License-Identifier: Apache-2.0
// pcapng: blocks of a capture file (draft-ietf-opsawg-pcapng), as bytes that are appended to a buffer. Pure.
//
//   section   once, first: who wrote it
//   interface one for each port, before its first packet; they are numbered from 0 in their order
//   packet    with its direction, and a comment
//   statistics of an interface, last: how many frames it has in the file, and how many are missing
//
// librte_pcapng of DPDK 22.11 writes interfaces of Ethernet devices alone, which guests' rings and kernel interfaces
// are not here, and no comments of packets.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vmnat::control::pcapng {

using Bytes = std::vector<std::uint8_t>;
using WallTime = std::chrono::sys_time<std::chrono::nanoseconds>;

enum class Way : std::uint8_t { Unknown, Inbound, Outbound };  // as seen from the gateway

void add_section(Bytes& to, std::string_view program);

struct Interface {
  std::string name, description;
  std::string filter;      // the expression; empty: none
  std::uint32_t snap = 0;  // bytes kept of a frame at most
};
void add_interface(Bytes& to, const Interface& interface);

struct Packet {
  std::uint32_t interface = 0;
  WallTime time;
  std::uint32_t length = 0;  // as it was; `kept` are its first bytes
  std::span<const std::byte> kept;
  Way way = Way::Unknown;
  std::string_view comment;
};
void add_packet(Bytes& to, const Packet& packet);

struct Statistics {
  std::uint32_t interface = 0;
  WallTime begin, end;
  std::uint64_t captured = 0, missed = 0;
};
void add_statistics(Bytes& to, const Statistics& statistics);

}  // namespace vmnat::control::pcapng
