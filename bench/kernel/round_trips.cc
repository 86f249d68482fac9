// SPDX-License-Identifier: Apache-2.0
// round_trips: how long a byte takes through a gateway between kernel interfaces, and back.
//
//   round_trips --inside /proc/7/fd/5 --outside /proc/7/fd/9 --address 198.18.0.1
//   {"count": 41234, "p50_us": 23.4, "p99_us": 41.0}
//
// One TCP connection; the inside sends a byte and waits for the outside to send it back, again and again. Both ends
// sleep until their byte is there, as a client and a server do, so their wake-ups are a part of the time.
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdexcept>
#include <sys/socket.h>
#include <thread>
#include <utility>

#include "bench/generator/histogram.h"
#include "bench/kernel/sides.h"

namespace vmnat::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kPort = net::L4Port::from_host(21'000);
constexpr unsigned kWarmUp = 200;  // round trips
constexpr std::chrono::milliseconds kPatience{3000};

void send_back_all(const Socket& listener) {
  const Socket peer{::accept(listener.number(), nullptr, nullptr)};
  if (!peer.is_open()) return;
  set_option(peer, IPPROTO_TCP, TCP_NODELAY, 1);
  while (receive_byte(peer) && send_byte(peer)) {
  }
}

void go_and_return(const Socket& socket) {
  if (!send_byte(socket) || !receive_byte(socket)) throw std::runtime_error("a byte did not come back");
}

// In nanoseconds.
Histogram time_round_trips(const Socket& client, Seconds duration) {
  for (unsigned trip = 0; trip < kWarmUp; ++trip) go_and_return(client);
  Histogram times;
  const auto start = Clock::now();
  for (auto now = start; now - start < duration;) {
    go_and_return(client);
    const auto then = std::exchange(now, Clock::now());
    times.add(static_cast<std::uint32_t>(std::chrono::nanoseconds{now - then}.count()));
  }
  return times;
}

std::string measure(const Sides& sides) {
  const Socket listener = socket_in(sides.outside, SOCK_STREAM, kPatience);
  set_option(listener, SOL_SOCKET, SO_REUSEADDR, 1);
  bind_to(listener, kPort);
  checked(::listen(listener.number(), 1), "listen");
  const std::jthread server(send_back_all, std::cref(listener));  // ends with the client's connection
  const Socket client = socket_in(sides.inside, SOCK_STREAM, kPatience);
  connect_to(client, {sides.address, kPort});
  set_option(client, IPPROTO_TCP, TCP_NODELAY, 1);
  const Histogram times = time_round_trips(client, sides.duration);
  return fmt::format("{{\"count\": {}, \"p50_us\": {}, \"p99_us\": {}}}", times.count(),
                     times.at(0.5) / 1000.0, times.at(0.99) / 1000.0);
}

}  // namespace
}  // namespace vmnat::bench

int main(int argc, char** argv) {
  return vmnat::bench::run_between(argc, argv,
                                   "Round trips of a byte through a gateway between two network namespaces",
                                   vmnat::bench::measure);
}
