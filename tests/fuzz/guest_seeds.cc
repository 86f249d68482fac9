// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "tests/fuzz/gateway.h"
#include "tests/fuzz/guest_step.h"
#include "tests/fuzz/oracle.h"

namespace vmnat::fuzz {
namespace {

using namespace test;
namespace virtio = dataplane::virtio;

struct Seed {
  std::uint8_t port = 0;
  std::uint8_t mends = kMendIp | kMendPartial;
  std::array<std::uint8_t, 2> cut{};
  std::uint32_t frame_length = 0, ip_length = kRight;  // of the tables
  std::uint8_t offload = 0;                            // number
  std::uint16_t segment_size = 0;                      // of the table
  Bytes frame;
};

template <typename T, std::size_t size>
std::uint8_t number_of(const std::array<T, size>& table, T value) {
  return static_cast<std::uint8_t>(std::ranges::find(table, value) - table.begin());
}

Input input_of(std::uint8_t kind, const Seed& seed) {
  Input input{kind, seed.port, seed.mends, seed.cut[0], seed.cut[1]};
  input.push_back(static_cast<std::uint8_t>(number_of(kFrameLengths, seed.frame_length) << 4 |
                                            number_of(kIpLengths, seed.ip_length)));
  input.push_back(static_cast<std::uint8_t>(seed.offload << 4 | number_of(kSegmentSizes, seed.segment_size)));
  input.resize(input.size() + virtio::kShortNetHeader);
  input.push_back(static_cast<std::uint8_t>(seed.frame.size() >> 8));
  input.push_back(static_cast<std::uint8_t>(seed.frame.size() & 0xff));
  for (const std::byte byte : seed.frame) input.push_back(static_cast<std::uint8_t>(byte));
  return input;
}

Packet from_vm1(net::MacAddr mac, const char* to) {
  return Packet().from(vm_mac(1), "192.168.122.10", 40001).to(mac, to, 53);
}

// A frame with other bytes between its MAC addresses and its payload's first byte at `rest`.
Bytes behind_macs(const Bytes& frame, const std::vector<unsigned>& between, std::size_t rest) {
  Bytes made(frame.begin(), frame.begin() + 12);
  const Bytes middle = as_bytes(between);
  made.insert(made.end(), middle.begin(), middle.end());
  made.insert(made.end(), frame.begin() + static_cast<std::ptrdiff_t>(rest), frame.end());
  return made;
}

// vm1's TCP over IPv6, `bytes` of it in all.
Bytes over_ipv6(const Bytes& tcp_over_ipv4, std::size_t bytes) {
  std::vector<unsigned> header{
      0x86, 0xdd, 0x60, 0, 0, 0, static_cast<unsigned>(bytes >> 8), static_cast<unsigned>(bytes & 0xff),
      6,    64};
  for (const unsigned last : {1, 2}) {
    header.insert(header.end(), {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
    header.push_back(last);
  }
  return behind_macs(tcp_over_ipv4, header, net::kIpOffset + 20);
}

// What guests hand over to their devices: partial checksums, and super-frames, of which the segments fit.
std::vector<Seed> unfinished_frames() {
  constexpr std::uint8_t kPartial = 2, kTcp4 = 3, kTcp6 = 4, kUdp = 5;
  const Bytes out = from_vm1(kRedMac, "198.51.100.2").tcp(net::TcpHeader::kAck).payload(10).frame();
  const Bytes across = from_vm1(vm_mac(2), "192.168.122.11").tcp(net::TcpHeader::kAck).payload(10).frame();
  const Bytes datagram = from_vm1(kRedMac, "198.51.100.2").udp().payload(10).frame();
  const Bytes echo =
      from_vm1(kRedMac, "198.51.100.2").icmp_echo(net::IcmpType::EchoRequest, 40002).payload(10).frame();
  std::vector<Seed> seeds;
  for (const Bytes& frame : {out, across, datagram, echo})
    for (const std::uint32_t length : {0, 1'514, 4'000})
      seeds.push_back({.frame_length = length, .offload = kPartial, .frame = frame});
  seeds.push_back({.offload = kPartial, .frame = over_ipv6(across, 30)});
  seeds.push_back({.frame_length = 4'000, .offload = kUdp, .segment_size = 1'448, .frame = datagram});
  for (const std::uint32_t length : {0, 1'514, 9'014, 65'549})
    for (const std::uint16_t segment : {256, 536, 1'448}) {
      const Seed seed{.frame_length = length, .offload = kTcp4, .segment_size = segment};
      for (const Bytes& frame : {out, across, behind_macs(across, {0x81, 0, 0, 5}, 12)})
        seeds.emplace_back(seed).frame = frame;
      Seed& ipv6 = seeds.emplace_back(seed);
      ipv6.offload = kTcp6;
      ipv6.frame = over_ipv6(across, length == 0 ? 30 : length - net::kIpOffset - 40);
    }
  return seeds;
}

// What has once gone wrong: a sum of 16 bits that wraps, nothing to cut, segments and frames that are too
// long.
std::vector<Seed> once_broken() {
  constexpr std::uint8_t kTcp4 = 3;
  const auto tcp = [](net::MacAddr mac, const char* to, std::size_t payload) {
    return from_vm1(mac, to).tcp(net::TcpHeader::kAck).payload(payload).frame();
  };
  const Bytes out = tcp(kRedMac, "198.51.100.2", 10), across = tcp(vm_mac(2), "192.168.122.11", 10);
  const auto super_frame = [](const Bytes& frame, std::uint32_t length, std::uint32_t ip,
                              std::uint16_t size) {
    return Seed{
        .frame_length = length, .ip_length = ip, .offload = kTcp4, .segment_size = size, .frame = frame};
  };
  return {super_frame(out, 65'557, 40, 65'535),
          super_frame(across, 65'557, kRight, 65'535),
          super_frame(across, 65'536, 40, 65'482),
          super_frame(tcp(kRedMac, "198.51.100.2", 0), 0, kRight, 1'448),
          super_frame(out, 60, 40, 1'448),
          super_frame(out, 4'000, 1'500, 2'000),
          super_frame(out, 1'514, kRight, 1),
          {.frame_length = 9'014, .ip_length = 40, .frame = out},
          {.frame_length = 9'014, .frame = across},
          {.mends = 0, .ip_length = 0, .frame = Bytes(1)}};
}

}  // namespace

std::vector<Input> guest_seeds() {
  std::vector<Input> all;
  for (std::uint8_t kind = 0; kind < kGuestKinds; ++kind) {
    for (const Bytes& frame : frames_of_every_kind(Side::Vms))
      all.push_back(input_of(kind, {.mends = kMendAll, .ip_length = 0, .frame = frame}));
    for (const Bytes& frame : frames_of_every_kind(Side::Uplink))
      all.push_back(input_of(kind, {.port = 7, .mends = kMendAll, .ip_length = 0, .frame = frame}));
    for (const Seed& seed : once_broken()) all.push_back(input_of(kind, seed));
    for (Seed seed : unfinished_frames())
      for (const std::array<std::uint8_t, 2> cut : {std::array<std::uint8_t, 2>{}, {12, 138}, {54, 143}}) {
        seed.cut = cut;
        all.push_back(input_of(kind, seed));
      }
  }
  return all;
}

}  // namespace vmnat::fuzz
