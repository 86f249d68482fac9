// SPDX-License-Identifier: Apache-2.0
// udp_flood: how many datagrams a second a gateway between kernel interfaces delivers.
//
//   udp_flood --inside /proc/7/fd/5 --outside /proc/7/fd/9 --address 198.18.0.1 [--back]
//   {"delivered": 612345, "sent": 702111, "seconds": 1.0}
//
// One datagram and its answer open each flow. Then one side sends in bursts, in turn on all flows, as fast as the kernel
// takes it: 18 bytes, a frame of 64 bytes with its FCS. Nobody reads on the other side: its sockets are full from the
// start, and the kernel counts there what it drops. So a datagram counts when it arrives at its socket with the right
// address and ports, and costs next to nothing from there on.
#include <array>
#include <cstdint>
#include <exception>
#include <fmt/format.h>
#include <linux/sock_diag.h>
#include <stdexcept>
#include <sys/socket.h>
#include <vector>

#include "bench/kernel/sides.h"

namespace vmnat::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned kFlows = 64;
constexpr unsigned kBurst = 32;  // datagrams of a flow in a row
constexpr std::uint16_t kFirstPort = 20'000;
constexpr std::size_t kPayload = 64 - 4 - 14 - 20 - 8;  // FCS, Ethernet, IPv4, UDP
constexpr unsigned kAttempts = 30;                      // a flow's first datagrams may wait for ARP
constexpr std::chrono::milliseconds kPatience{100};

struct Flow {
  Socket inside, outside;  // each connected to the other, as the gateway shows it
};

struct Count {
  std::uint64_t sent = 0;
  std::uint64_t delivered = 0;
  Seconds duration{};
};

// The inside's datagram reaches the outside, which then knows the flow's external endpoint, and answers.
bool is_opened(const Flow& flow) {
  char byte = 0;
  sockaddr_in external{};
  socklen_t length = sizeof external;
  ::send(flow.inside.number(), &byte, 1, 0);
  auto* const where = static_cast<sockaddr*>(static_cast<void*>(&external));
  if (::recvfrom(flow.outside.number(), &byte, 1, 0, where, &length) != 1) return false;
  connect_to(flow.outside, external);
  ::send(flow.outside.number(), &byte, 1, 0);
  return ::recv(flow.inside.number(), &byte, 1, 0) == 1;
}

Flow open_flow(const Sides& sides, std::uint16_t port) {
  Flow flow{.inside = socket_in(sides.inside, SOCK_DGRAM, kPatience),
            .outside = socket_in(sides.outside, SOCK_DGRAM, kPatience)};
  for (const Socket* socket : {&flow.inside, &flow.outside}) set_option(*socket, SOL_SOCKET, SO_RCVBUF, 0);
  bind_to(flow.outside, port);
  connect_to(flow.inside, endpoint(sides.address, port));
  for (unsigned attempt = 0; attempt < kAttempts; ++attempt)
    if (is_opened(flow)) return flow;
  throw std::runtime_error("no datagram comes through the gateway and back");
}

// What has arrived at a full socket.
std::uint32_t dropped_at(const Socket& socket) {
  std::array<std::uint32_t, SK_MEMINFO_VARS> memory{};
  socklen_t length = sizeof memory;
  ::getsockopt(socket.number(), SOL_SOCKET, SO_MEMINFO, memory.data(), &length);
  return memory[SK_MEMINFO_DROPS];
}

unsigned send_burst(const Socket& socket) {
  static std::array<char, kPayload> payload{};
  static iovec piece{.iov_base = payload.data(), .iov_len = payload.size()};
  static std::array<mmsghdr, kBurst> burst = [] {
    std::array<mmsghdr, kBurst> messages{};
    for (mmsghdr& message : messages) message.msg_hdr = {.msg_iov = &piece, .msg_iovlen = 1};
    return messages;
  }();
  const int sent = ::sendmmsg(socket.number(), burst.data(), burst.size(), 0);
  return sent < 0 ? 0 : static_cast<unsigned>(sent);
}

Count flood(const std::vector<Flow>& flows, Socket Flow::*sender, Socket Flow::*receiver, Seconds duration) {
  const auto all_dropped = [&] {
    std::uint64_t sum = 0;
    for (const Flow& flow : flows) sum += dropped_at(flow.*receiver);
    return sum;
  };
  Count count;
  const std::uint64_t before = all_dropped();
  const auto start = Clock::now();
  while (count.duration < duration) {
    for (const Flow& flow : flows) count.sent += send_burst(flow.*sender);
    count.duration = Clock::now() - start;
  }
  count.delivered = all_dropped() - before;
  return count;
}

Count measure(const Sides& sides) {
  std::vector<Flow> flows;
  for (unsigned index = 0; index < kFlows; ++index)
    flows.push_back(open_flow(sides, static_cast<std::uint16_t>(kFirstPort + index)));
  return sides.is_back ? flood(flows, &Flow::outside, &Flow::inside, sides.duration)
                       : flood(flows, &Flow::inside, &Flow::outside, sides.duration);
}

}  // namespace
}  // namespace vmnat::bench

int main(int argc, char** argv) {
  try {
    const auto count = vmnat::bench::measure(vmnat::bench::parse_sides(
        argc, argv, "Datagrams a second through a gateway between two network namespaces"));
    fmt::print("{{\"delivered\": {}, \"sent\": {}, \"seconds\": {}}}\n", count.delivered, count.sent,
               count.duration.count());
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "udp_flood: {}\n", error.what());
    return 1;
  }
}
