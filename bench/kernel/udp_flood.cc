// SPDX-License-Identifier: Apache-2.0
// udp_flood: how many 64-byte frames a second a gateway between kernel interfaces delivers.
//
//   udp_flood --inside /proc/7/fd/5 --outside /proc/7/fd/9 --address 198.18.0.1 [--back]
//   {"delivered": 612345, "sent": 702111, "seconds": 1.0}
//
// A datagram and its answer, of ordinary sockets, open each flow. Then one side sends frames on all flows in turn, as
// fast as its interface takes them. Nobody reads on the other side: its sockets are full from the start, and the kernel
// counts there what it drops. So a frame counts when it arrives at its socket, with the right addresses and ports, and
// costs little from there on.
#include <array>
#include <cstdint>
#include <fmt/format.h>
#include <linux/sock_diag.h>
#include <stdexcept>
#include <sys/socket.h>
#include <vector>

#include "bench/kernel/frame_sender.h"
#include "bench/kernel/sides.h"

namespace vmnat::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned kFlows = 64;
constexpr std::uint16_t kFirstPort = 20'000;
constexpr unsigned kAttempts = 30;  // the first datagrams may wait for ARP
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
  net::Endpoint external;
  if (!send_byte(flow.inside) || !receive_byte(flow.outside, &external)) return false;
  connect_to(flow.outside, external);
  return send_byte(flow.outside) && receive_byte(flow.inside);
}

Flow open_flow(const Sides& sides, net::L4Port port) {
  Flow flow{.inside = socket_in(sides.inside, SOCK_DGRAM, kPatience),
            .outside = socket_in(sides.outside, SOCK_DGRAM, kPatience)};
  for (const Socket* socket : {&flow.inside, &flow.outside}) set_option(*socket, SOL_SOCKET, SO_RCVBUF, 0);
  bind_to(flow.outside, port);
  connect_to(flow.inside, {sides.address, port});
  for (unsigned attempt = 0; attempt < kAttempts; ++attempt)
    if (is_opened(flow)) return flow;
  throw std::runtime_error("no datagram comes through the gateway and back");
}

std::vector<Flow> open_flows(const Sides& sides) {
  std::vector<Flow> flows;
  for (std::uint16_t index = 0; index < kFlows; ++index)
    flows.push_back(open_flow(sides, net::L4Port::from_host(static_cast<std::uint16_t>(kFirstPort + index))));
  return flows;
}

// What has arrived at full sockets.
std::uint64_t dropped_at(const std::vector<Flow>& flows, Socket Flow::*receiver) {
  std::uint64_t sum = 0;
  for (const Flow& flow : flows) {
    std::array<std::uint32_t, SK_MEMINFO_VARS> memory{};
    socklen_t length = sizeof memory;
    checked(::getsockopt((flow.*receiver).number(), SOL_SOCKET, SO_MEMINFO, memory.data(), &length),
            "SO_MEMINFO");
    sum += memory[SK_MEMINFO_DROPS];
  }
  return sum;
}

std::string flood(const Sides& sides) {
  const std::vector<Flow> flows = open_flows(sides);
  Socket Flow::*const sender = sides.is_back ? &Flow::outside : &Flow::inside;
  Socket Flow::*const receiver = sides.is_back ? &Flow::inside : &Flow::outside;
  std::vector<Tuple> tuples;
  tuples.reserve(flows.size());
  for (const Flow& flow : flows) tuples.push_back({local_end(flow.*sender), remote_end(flow.*sender)});
  FrameSender frames(sides.is_back ? sides.outside : sides.inside, tuples);

  Count count;
  const std::uint64_t before = dropped_at(flows, receiver);
  const auto start = Clock::now();
  while (count.duration < sides.duration) {
    count.sent += frames.send_burst();
    count.duration = Clock::now() - start;
  }
  count.delivered = dropped_at(flows, receiver) - before;
  return fmt::format("{{\"delivered\": {}, \"sent\": {}, \"seconds\": {}}}", count.delivered, count.sent,
                     count.duration.count());
}

}  // namespace
}  // namespace vmnat::bench

int main(int argc, char** argv) {
  return vmnat::bench::run_between(argc, argv,
                                   "64-byte frames a second through a gateway between two network namespaces",
                                   vmnat::bench::flood);
}
