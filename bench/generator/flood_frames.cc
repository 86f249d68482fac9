// SPDX-License-Identifier: Apache-2.0
#include "bench/generator/flood_frames.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "net/checksum.h"
#include "net/wire.h"

namespace vmnat::bench {
namespace {

using net::Be16;
using net::Ipv4Header;
using net::TcpHeader;
using net::UdpHeader;
using Bytes = std::vector<std::byte>;

constexpr std::size_t kIp = sizeof(net::EthernetHeader), kL4 = kIp + sizeof(Ipv4Header);
constexpr std::size_t kSmallest = 60, kSuperFrame = 65'000;  // bytes without FCS
constexpr net::MacAddr kBroadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

template <typename T>
T& at(std::byte* frame, std::size_t offset) {
  return *static_cast<T*>(static_cast<void*>(frame + offset));
}

void finish_ip(std::byte* frame) {
  auto& ip = at<Ipv4Header>(frame, kIp);
  ip.checksum = {};
  ip.checksum = net::checksum_of(net::added_sum({frame + kIp, sizeof ip}));
}

struct Plan {
  net::MacAddr to;
  net::Ipv4Addr destination;
  net::Protocol protocol = net::Protocol::Udp;
  std::size_t size = kSmallest;
  std::uint8_t ttl = 64;
};

Bytes packet(const FloodEnds& ends, const Plan& plan) {
  Bytes frame(plan.size);
  at<net::EthernetHeader>(frame.data(), 0) = {
      .destination = plan.to,
      .source = ends.own,
      .type = Be16::from_host(static_cast<std::uint16_t>(net::EtherType::Ipv4))};
  at<Ipv4Header>(frame.data(), kIp) = {
      .version_ihl = 0x45,
      .total_length = Be16::from_host(static_cast<std::uint16_t>(plan.size - kIp)),
      .ttl = plan.ttl,
      .protocol_number = static_cast<std::uint8_t>(plan.protocol),
      .source = ends.address,
      .destination = plan.destination};
  finish_ip(frame.data());
  return frame;
}

// Without a checksum, which IPv4 allows: ports may vary.
Bytes datagram(const FloodEnds& ends, const Plan& plan) {
  Bytes frame = packet(ends, plan);
  at<UdpHeader>(frame.data(), kL4) = {.source_port = net::L4Port::from_host(4000),
                                      .destination_port = net::L4Port::from_host(9),
                                      .length = Be16::from_host(static_cast<std::uint16_t>(plan.size - kL4))};
  return frame;
}

Bytes segment(const FloodEnds& ends, Plan plan, std::uint8_t flags) {
  plan.protocol = net::Protocol::Tcp;
  Bytes frame = packet(ends, plan);
  at<TcpHeader>(frame.data(), kL4) = {.source_port = net::L4Port::from_host(4000),
                                      .destination_port = net::L4Port::from_host(80),
                                      .data_offset = 5 << 4,
                                      .flags = flags,
                                      .window = Be16::from_host(8192)};
  return frame;
}

Bytes to_remote(const FloodEnds& ends) {
  return datagram(ends, {.to = ends.gateway, .destination = ends.remote});
}
Bytes to_silent(const FloodEnds& ends) {
  return datagram(ends, {.to = ends.gateway, .destination = ends.silent});
}
Bytes expiring(const FloodEnds& ends) {
  return datagram(ends, {.to = ends.gateway, .destination = ends.remote, .ttl = 1});
}
Bytes to_all(const FloodEnds& ends) {
  return datagram(ends, {.to = kBroadcast, .destination = net::Ipv4Addr::of(255, 255, 255, 255)});
}
Bytes padded(const FloodEnds& ends) {
  Bytes frame = to_silent(ends);
  frame.resize(kSuperFrame);
  return frame;
}
Bytes in_the_gateways_name(const FloodEnds& ends) {
  Bytes frame = to_remote(ends);
  at<net::EthernetHeader>(frame.data(), 0).source = ends.gateway;
  return frame;
}
Bytes syn(const FloodEnds& ends) {
  return segment(ends, {.to = ends.gateway, .destination = ends.remote}, TcpHeader::kSyn);
}
// Opens its session by itself, and goes on in it.
Bytes super_frame(const FloodEnds& ends) {
  return segment(ends, {.to = ends.gateway, .destination = ends.remote, .size = kSuperFrame},
                 TcpHeader::kSyn);
}
Bytes super_frame_to_all(const FloodEnds& ends) {
  return segment(ends, {.to = kBroadcast, .destination = ends.remote, .size = kSuperFrame}, TcpHeader::kAck);
}
Bytes small_super_frame(const FloodEnds& ends) {
  return segment(ends, {.to = ends.gateway, .destination = ends.remote, .size = 54 + 255}, TcpHeader::kSyn);
}
Bytes later_fragment(const FloodEnds& ends) {
  Bytes frame = packet(ends, {.to = ends.gateway, .destination = ends.remote, .size = kIp + 20 + 32});
  at<Ipv4Header>(frame.data(), kIp).fragment = Be16::from_host(185);  // the last one, from byte 1480 on
  finish_ip(frame.data());
  return frame;
}

// RFC 2131: a DISCOVER without any wish.
Bytes discover(const FloodEnds& ends) {
  constexpr std::size_t kMessage = kL4 + sizeof(UdpHeader), kCookie = kMessage + 236, kEnd = kCookie + 64;
  FloodEnds nobody = ends;
  nobody.address = {};
  Bytes frame = datagram(
      nobody, {.to = kBroadcast, .destination = net::Ipv4Addr::of(255, 255, 255, 255), .size = kEnd});
  at<UdpHeader>(frame.data(), kL4).source_port = net::L4Port::from_host(68);
  at<UdpHeader>(frame.data(), kL4).destination_port = net::L4Port::from_host(67);
  frame[kMessage] = frame[kMessage + 1] = std::byte{1};  // BOOTREQUEST, Ethernet
  frame[kMessage + 2] = std::byte{6};
  std::memcpy(&frame[kMessage + 28], ends.own.bytes.data(), ends.own.bytes.size());
  constexpr std::array<std::uint8_t, 8> kOptions = {0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255};
  std::memcpy(&frame[kCookie], kOptions.data(), kOptions.size());
  return frame;
}

Bytes arp_for_gateway(const FloodEnds& ends) {
  Bytes frame(kSmallest);
  at<net::EthernetHeader>(frame.data(), 0) = {
      .destination = kBroadcast,
      .source = ends.own,
      .type = Be16::from_host(static_cast<std::uint16_t>(net::EtherType::Arp))};
  at<net::ArpPacket>(frame.data(), kIp) = {
      .hardware_type = Be16::from_host(1),
      .protocol_type = Be16::from_host(0x0800),
      .hardware_length = 6,
      .protocol_length = 4,
      .operation = Be16::from_host(static_cast<std::uint16_t>(net::ArpOperation::Request)),
      .sender_mac = ends.own,
      .sender_address = ends.address,
      .target_address = ends.gateway_address};
  return frame;
}

void vary_ports(std::byte* frame, std::uint32_t number) {
  number |= 1u << 26;  // a source port that is not 0
  for (std::size_t i = 0; i < 4; ++i) frame[kL4 + i] = static_cast<std::byte>(number >> (24 - 8 * i));
}
void vary_identification(std::byte* frame, std::uint32_t number) {
  at<Ipv4Header>(frame, kIp).identification = Be16::from_host(static_cast<std::uint16_t>(number));
  finish_ip(frame);
}
void vary_transaction(std::byte* frame, std::uint32_t number) {
  std::memcpy(frame + kL4 + sizeof(UdpHeader) + 4, &number, sizeof number);
}

constexpr std::array kFloods = {
    Flood{"plain", "datagrams of one flow: the other VM's fair share", to_remote},
    Flood{"dhcp", "DHCP DISCOVERs, each of another transaction", discover, vary_transaction},
    Flood{"silent", "datagrams to one address on the uplink's subnet that answers no ARP", to_silent},
    Flood{"padded", "the same in frames of 65000 bytes", padded},
    Flood{"broadcast", "broadcast of the smallest frames", to_all},
    Flood{"broadcast-64k", "broadcast of super-frames of 65000 bytes", super_frame_to_all, nullptr, 1448},
    Flood{"flows", "datagrams, each of a new flow", to_remote, vary_ports},
    Flood{"syn", "TCP SYNs, each of a new connection", syn, vary_ports},
    Flood{"segments", "super-frames of 65000 bytes, to be cut into segments of 256", super_frame, nullptr,
          256},
    Flood{"tiny-segments", "super-frames of 309 bytes, to be cut into segments of 1", small_super_frame,
          nullptr, 1},
    Flood{"fragments", "last fragments of datagrams whose first never comes", later_fragment,
          vary_identification},
    Flood{"ttl", "datagrams whose TTL ends here, each worth an ICMP error", expiring},
    Flood{"arp", "ARP requests for the gateway, each answered", arp_for_gateway},
    Flood{"spoofed", "datagrams from the gateway's own MAC, which the guard drops", in_the_gateways_name},
};

}  // namespace

std::span<const Flood> all_floods() {
  return kFloods;
}

const Flood* find_flood(std::string_view name) {
  const auto found = std::ranges::find(kFloods, name, &Flood::name);
  return found == kFloods.end() ? nullptr : &*found;
}

}  // namespace vmnat::bench
