// SPDX-License-Identifier: Apache-2.0
// The TCP trial: both ends answer what arrives, in the buffer in which it arrived.
#include <algorithm>
#include <array>
#include <deque>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "bench/generator/connections.h"
#include "bench/generator/opening_pace.h"
#include "bench/generator/tcp_talk.h"

namespace vmnat::bench {
namespace {

constexpr std::uint64_t kSampledFrames = 64;
constexpr std::uint64_t kMostUnderWay = 256;  // connections, without a rate: their segments fit into a ring
constexpr std::size_t kMostPending = 8192;    // frames before a full ring; what is beyond is lost
constexpr double kStall = 0.02;               // seconds without a completion: what is under way is lost
constexpr double kDrainTime = 0.05;

// One end of connections: a station, and what waits to be sent there.
class End {
 public:
  End(Tester& tester, Direction sends, Station& station)
      : tester_(tester),
        sends_(sends),
        station_(station),
        frames_(station.port.mac(), tester.next_hop(station)),
        expected_(tester.expected_addresses(arrives())) {}
  ~End() {
    for (rte_mbuf* buffer : pending_) rte_pktmbuf_free(buffer);
  }
  End(const End&) = delete;
  End& operator=(const End&) = delete;

  // Queues the segment in `buffer`, or in a new one; false when there is none.
  bool send(const TcpSegment& segment, rte_mbuf* buffer = nullptr) {
    if (buffer == nullptr) buffer = rte_pktmbuf_alloc(station_.port.load_pool());
    if (buffer == nullptr) return false;
    if (pending_.size() >= kMostPending) return rte_pktmbuf_free(buffer), false;
    frames_.write(segment, rte_pktmbuf_mtod(buffer, std::byte*));
    buffer->data_len = static_cast<std::uint16_t>(TcpTemplate::length());
    buffer->pkt_len = TcpTemplate::length();
    buffer->ol_flags = 0;
    pending_.push_back(buffer);
    return true;
  }

  void flush() {
    while (!pending_.empty()) {
      std::array<rte_mbuf*, kBurst> burst;
      const auto count = static_cast<std::uint16_t>(std::min<std::size_t>(burst.size(), pending_.size()));
      std::copy_n(pending_.begin(), count, burst.begin());
      const std::uint16_t taken = station_.port.transmit(burst.data(), count);
      pending_.erase(pending_.begin(), pending_.begin() + taken);
      if (taken < count) return;
    }
  }

  // Receives a burst and answers it; the number of frames.
  template <typename AnswerTo>
  unsigned receive(AnswerTo answer_to) {
    rte_mbuf* burst[kBurst];
    const std::uint16_t count = rte_eth_rx_burst(station_.port.id(), 0, burst, kBurst);
    for (std::uint16_t i = 0; i < count; ++i) __builtin_prefetch(rte_pktmbuf_mtod(burst[i], std::byte*));
    for (std::uint16_t i = 0; i < count; ++i) answer(burst[i], answer_to);
    return count;
  }

 private:
  [[nodiscard]] Direction arrives() const {
    return sends_ == Direction::Outbound ? Direction::Inbound : Direction::Outbound;
  }

  template <typename AnswerTo>
  void answer(rte_mbuf* buffer, AnswerTo answer_to) {
    const auto segment = read_segment(bytes_of(buffer));
    const bool is_ours = segment && expected_.holds(rte_pktmbuf_mtod(buffer, const std::byte*));
    if (!is_ours) {
      tester_.check(arrives(), station_, bytes_of(buffer));
    } else if (received_++ % kSampledFrames == 0) {
      tester_.check_segment(arrives(), station_, bytes_of(buffer));
    }
    const Answer answer = is_ours ? answer_to(*segment) : Answer{};
    std::array<rte_mbuf*, 2> buffers{buffer, nullptr};
    for (unsigned i = 0; i < answer.count; ++i) send(answer.segments[i], buffers[i]);
    if (answer.count == 0) rte_pktmbuf_free(buffer);
  }

  Tester& tester_;
  Direction sends_;
  Station& station_;
  TcpTemplate frames_;
  AddressRange expected_;
  std::deque<rte_mbuf*> pending_;
  std::uint64_t received_ = 0;
};

// All ends, clients at the VM ports and the server at the uplink, and how many connections have come to their end.
class Talk {
 public:
  explicit Talk(Tester& tester)
      : server_(tester, Direction::Inbound, *tester.senders(Direction::Inbound).front()) {
    for (const auto& station : tester.senders(Direction::Outbound))
      clients_.emplace_back(tester, Direction::Outbound, *station);
  }

  // One turn: opens `count` connections from `first` on, answers what has come; the number of frames
  // received.
  unsigned turn(Tester& tester, FlowNumber first, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      const FlowNumber flow = first + static_cast<FlowNumber>(i);
      clients_[tester.plan().vm_port(flow)].send(first_segment(tester.plan().outbound(flow), flow));
    }
    unsigned received = 0;
    for (End& client : clients_)
      received += client.receive([](const TcpSegment& segment) { return client_answer(segment); });
    received += server_.receive([this](const TcpSegment& segment) {
      const Answer answer = server_answer(segment);
      if (answer.is_complete) ++completed_, last_ = rte_rdtsc();
      return answer;
    });
    for (End& client : clients_) client.flush();
    server_.flush();
    return received;
  }
  [[nodiscard]] std::uint64_t completed() const { return completed_; }
  [[nodiscard]] std::uint64_t last() const { return last_; }

 private:
  std::deque<End> clients_;
  End server_;
  std::uint64_t completed_ = 0;
  std::uint64_t last_ = rte_rdtsc();
};

// Without a rate: how many may be opened so that few enough are under way. Those that do not move are lost.
class Window {
 public:
  std::uint64_t room(std::uint64_t opened, const Talk& talk) {
    if (rte_rdtsc() - std::max(talk.last(), moved_) > stall_ticks_) {
      lost_ = opened - talk.completed();
      moved_ = rte_rdtsc();
    }
    const std::uint64_t under_way = opened - std::min(opened, talk.completed() + lost_);
    return kMostUnderWay - std::min(kMostUnderWay, under_way);
  }

 private:
  std::uint64_t stall_ticks_ = static_cast<std::uint64_t>(kStall * static_cast<double>(rte_get_tsc_hz()));
  std::uint64_t moved_ = rte_rdtsc();
  std::uint64_t lost_ = 0;
};

}  // namespace

ConnectionTrial talk_tcp(Tester& tester, const ConnectionPlan& plan) {
  Talk talk(tester);
  Window window;
  OpeningPace pace(plan);
  while (!pace.is_over()) {
    std::uint64_t count = std::min<std::uint64_t>(pace.due(), kBurst);
    if (plan.rate == 0) count = std::min(count, window.room(pace.taken(), talk));
    const unsigned received = talk.turn(tester, plan.first + static_cast<FlowNumber>(pace.taken()), count);
    pace.took(count, received + count > 0);
  }
  poll_until(kDrainTime, [&] { return talk.turn(tester, 0, 0), talk.completed() >= plan.count; });
  return pace.trial(talk.completed(), talk.last());
}

}  // namespace vmnat::bench
