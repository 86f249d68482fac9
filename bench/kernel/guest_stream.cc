// SPDX-License-Identifier: Apache-2.0
// guest_stream: TCP from a VM with segmentation offload to a kernel uplink.
//
//   guest_stream --vm /tmp/vm.sock --cpu 0 --outside /proc/7/fd/9 --address 198.18.0.1
//   {"gbits": 11.3, "losses": 2}
//
// It is the VM, by virtio-user on vmnatd's vhost-user socket, and the server outside, an ordinary socket, in one loop:
// super-frames go in on one side, and what arrives on the other is counted and thrown away unread.
#include <array>
#include <fmt/format.h>
#include <netinet/in.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdexcept>
#include <sys/socket.h>

#include "bench/generator/neighbors.h"
#include "bench/generator/ports.h"
#include "bench/kernel/sides.h"
#include "bench/kernel/tcp_source.h"

namespace vmnat::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kGuest = net::Ipv4Addr::of(10, 77, 0, 3);
constexpr auto kGateway = net::Ipv4Addr::of(10, 77, 0, 1);
constexpr auto kPort = net::L4Port::from_host(22'000);
constexpr unsigned kQueueSize = 256;
constexpr unsigned kSuperFrames = 511;
constexpr std::uint16_t kRoom = 65'535;
constexpr std::size_t kMostRead = 1 << 20;
constexpr std::chrono::milliseconds kAskAgain{100}, kSilence{20};
constexpr std::chrono::seconds kPatience{10};

class Guest {
 public:
  Guest(const Options& options, net::Endpoint server)
      : port_(vm_device_name(options, 0), kQueueSize,
              RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_TCP_CKSUM),
        server_(server),
        neighbors_(
            port_.mac(), [](net::Ipv4Addr address) { return address == kGuest; }, kGateway),
        source_(port_.mac(), {}, tuple()),
        super_frames_(rte_pktmbuf_pool_create("super", kSuperFrames, 0, 0, kRoom, SOCKET_ID_ANY)) {
    if (super_frames_ == nullptr) throw std::runtime_error("no memory for super-frames");
  }

  // Until the server has answered.
  void connect() {
    wait_for([&] { return port_.is_up(); }, [] {}, "the VM's link is down");
    wait_for([&] { return neighbors_.peer_mac().has_value(); },
             [&] { port_.send(net::arp_request(port_.mac(), kGuest, kGateway).bytes()); },
             "no answer to ARP");
    source_ = TcpSource(port_.mac(), *neighbors_.peer_mac(), tuple());
    std::array<std::byte, TcpSource::kSynLength> syn;
    source_.write_syn(syn);
    wait_for([&] { return source_.is_open(); }, [&] { port_.send(syn); }, "no answer to SYN");
    std::array<std::byte, TcpSource::kHeaders> ack;
    source_.write_ack(ack);
    port_.send(ack);
  }

  [[nodiscard]] unsigned losses() const { return source_.losses(); }

  // Sends what the windows and the ring allow.
  void turn() {
    receive();
    while (source_.may_send() && send_super_frame()) {
    }
    if (source_.acknowledged() != seen_) {
      seen_ = source_.acknowledged();
      seen_at_ = Clock::now();
    } else if (Clock::now() - seen_at_ > kSilence) {
      seen_at_ = Clock::now();
      source_.go_back();
    }
  }

 private:
  [[nodiscard]] Tuple tuple() const { return {{kGuest, kPort}, server_}; }

  template <typename Condition, typename Ask>
  void wait_for(Condition is_true, Ask ask, const char* complaint) {
    const auto start = Clock::now();
    for (auto next = start; !is_true(); receive()) {
      const auto now = Clock::now();
      if (now - start > kPatience) throw std::runtime_error(complaint);
      if (now < next) continue;
      next = now + kAskAgain;
      ask();
    }
  }

  void receive() {
    std::array<rte_mbuf*, kBurst> frames;
    const std::uint16_t count = rte_eth_rx_burst(port_.id(), 0, frames.data(), kBurst);
    for (std::uint16_t i = 0; i < count; ++i) {
      if (const auto reply = neighbors_.answer(bytes_of(frames[i]))) port_.send(reply->bytes());
      source_.receive(bytes_of(frames[i]));
      rte_pktmbuf_free(frames[i]);
    }
  }

  // False when the ring takes none.
  bool send_super_frame() {
    rte_mbuf* frame = rte_pktmbuf_alloc(super_frames_);
    if (frame == nullptr) return false;
    const TcpSource before = source_;
    auto* const data = rte_pktmbuf_append(frame, TcpSource::kHeaders + TcpSource::kPayload);
    source_.write_next({static_cast<std::byte*>(static_cast<void*>(data)), TcpSource::kHeaders});
    frame->ol_flags = RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4;
    frame->l2_len = sizeof(net::EthernetHeader);
    frame->l3_len = sizeof(net::Ipv4Header);
    frame->l4_len = sizeof(net::TcpHeader);
    frame->tso_segsz = TcpSource::kSegment;
    if (rte_eth_tx_prepare(port_.id(), 0, &frame, 1) == 1 && rte_eth_tx_burst(port_.id(), 0, &frame, 1) == 1)
      return true;
    rte_pktmbuf_free(frame);
    source_ = before;
    return false;
  }

  Port port_;
  net::Endpoint server_;
  NeighborSide neighbors_;
  TcpSource source_;
  rte_mempool* super_frames_;
  std::uint32_t seen_ = 0;
  Clock::time_point seen_at_ = Clock::now();
};

// What has arrived since the last call, in bytes.
std::uint64_t discard_all(const Socket& socket) {
  const ssize_t count = ::recv(socket.number(), nullptr, kMostRead, MSG_TRUNC | MSG_DONTWAIT);
  return count > 0 ? static_cast<std::uint64_t>(count) : 0;
}

std::string measure(const Sides& sides) {
  Options options;
  options.vm_port = sides.vm;
  options.virtio.queue_size = kQueueSize;
  options.eal = {.cpu = sides.cpu, .memory_mb = 256, .hugepages = false};
  const Environment environment(options);

  const Socket listener = socket_in(sides.outside, SOCK_STREAM, kPatience);
  set_option(listener, SOL_SOCKET, SO_REUSEADDR, 1);
  bind_to(listener, kPort);
  checked(::listen(listener.number(), 1), "listen");
  Guest guest(options, {sides.address, kPort});
  guest.connect();
  const Socket server{checked(::accept(listener.number(), nullptr, nullptr), "accept")};

  std::uint64_t bytes = 0;
  const auto start = Clock::now();
  Seconds elapsed{};
  while (elapsed < sides.duration) {
    guest.turn();
    bytes += discard_all(server);
    elapsed = Clock::now() - start;
  }
  return fmt::format("{{\"gbits\": {}, \"losses\": {}}}", static_cast<double>(bytes) * 8e-9 / elapsed.count(),
                     guest.losses());
}

}  // namespace
}  // namespace vmnat::bench

int main(int argc, char** argv) {
  return vmnat::bench::run_between(argc, argv, "TCP from a VM with segmentation offload to a kernel uplink",
                                   vmnat::bench::measure);
}
