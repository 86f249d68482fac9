// SPDX-License-Identifier: Apache-2.0
// From a guest's ring to the uplink and into other guests' rings: the virtio header, the way a frame lies in
// the guest's memory, and the frame, through the whole packet path, the segmenter and both rings.
//
// vm1 and vm2 are guests behind rings of their own (guest_rings.h), the uplink and the others have wires.
//
// Every input is played to two gateways whose buffers, and whose guests' memory, are filled with different
// bytes: what differs in what they send was given by nobody. Besides that, of every frame is promised:
//
//   - what oracle.h says of what goes out by the uplink and comes in from it;
//   - it is not longer than the MTU, or its segments, of which the receiver is told, will not be;
//   - a routed packet ends where its header says;
//   - all buffers come back, the guest's too, and every frame is accounted for.
#include <algorithm>
#include <cstring>
#include <memory>
#include <rte_mempool.h>

#include "dataplane/device/virtio.h"
#include "tests/fuzz/driver.h"
#include "tests/fuzz/gateway.h"
#include "tests/fuzz/gateway_bed.h"
#include "tests/fuzz/guest_step.h"
#include "tests/fuzz/oracle.h"

namespace vmnat::fuzz {
namespace {

using dataplane::ForwardingState;
using dataplane::Offloads;
using dataplane::virtio::NetHeader;
using namespace test;
namespace virtio = dataplane::virtio;

constexpr unsigned kGuests = 2;  // vm1 and vm2
constexpr std::size_t kTags = 8, kMtu = 1500, kLongestPacket = 65535;

struct Kind {
  std::uint64_t features;
  Offloads guests, uplink;
  unsigned workers;
};
constexpr std::array<Kind, kGuestKinds> kKinds = {
    Kind{.features = 0, .workers = 1},
    Kind{.features = virtio::kVersion1 | virtio::kMergeableBuffers,
         .guests = {.checksums = true, .tcp4_segments = true, .tcp6_segments = true},
         .uplink = {.checksums = true, .tcp4_segments = true},
         .workers = 1},
    Kind{.features = virtio::kVersion1 | virtio::kMergeableBuffers | virtio::kEventIndex,
         .guests = {.checksums = true},
         .workers = 2},
    Kind{.features = virtio::kVersion1 | virtio::kMergeableBuffers | virtio::kPackedRing,
         .guests = {.checksums = true, .tcp4_segments = true},
         .uplink = {.checksums = true},
         .workers = 1},
};

// A frame that came out, and what is left to its receiver.
struct Arrival {
  PortIndex port = 0;
  bool has_partial_checksum = false;
  std::size_t headers = 0, segment_size = 0;  // of a super-frame
  Bytes frame;
  bool operator==(const Arrival&) const = default;
};

// ---- a gateway

// Refills the buffers that were used: something else stands where frames begin.
void refill(rte_mempool*, void* fill, void* object, unsigned) {
  auto* const buffer = static_cast<rte_mbuf*>(object);
  auto* const bytes = static_cast<std::byte*>(buffer->buf_addr);
  const std::byte value = *static_cast<const std::byte*>(fill);
  const auto* const begin = bytes + RTE_PKTMBUF_HEADROOM;
  if (!std::all_of(begin, begin + 14, [value](std::byte byte) { return byte == value; }))
    std::memset(bytes, static_cast<int>(value), buffer->buf_len);
}

class Gateway {
 public:
  Gateway(unsigned number, const Kind& kind, std::byte fill)
      : fill_(fill),
        pool_(make_packet_pool("guest" + std::to_string(number), 1023)),
        guests_{GuestRings(kind.features, fill), GuestRings(kind.features, fill)},
        gateway_({.workers = kind.workers,
                  .guests = {nullptr, &guests_[0].port(), &guests_[1].port()},
                  .pool = pool_}) {
    gateway_.bed().change_state([&](ForwardingState& state) {
      state.ports[kUplink].offloads = kind.uplink;
      state.ports[kVm1].offloads = state.ports[kVm2].offloads = kind.guests;
    });
  }

  void start() {
    rte_mempool_obj_iter(pool_, refill, &fill_);
    for (const auto& [port, frame] : gateway_.flows()) put({{.port = port, .frame = frame}});
  }
  // One burst.
  std::vector<Arrival> put(const std::vector<Step>& steps) {
    for (const Step& step : steps)
      if (is_guest(step.port))
        rings_of(step.port).send(step.header, step.frame, step.layout);
      else
        bed().put(step.port, step.frame);
    bed().run();
    for (GuestRings& guest : guests_)
      if (!guest.has_all_back()) fault("a guest's buffer does not come back");
    bed().take_learned();
    return arrivals();
  }
  std::vector<Bytes> take_punted() { return bed().take_punted(); }
  void finish() { gateway_.finish(); }

 private:
  Testbed& bed() { return gateway_.bed(); }
  GuestRings& rings_of(PortIndex port) { return guests_[port - kVm1]; }

  std::vector<Arrival> arrivals() {
    std::vector<Arrival> all;
    for (PortIndex port = 0; port < kPortCount; ++port) {
      if (is_guest(port))
        for (GuestRings::Received& received : rings_of(port).receive())
          all.push_back(at_guest(port, received));
      else
        for (SentFrame& sent : bed().take_sent(port)) all.push_back(at_device(port, sent));
    }
    return all;
  }
  static Arrival at_device(PortIndex port, SentFrame& sent) {
    Arrival arrival{.port = port,
                    .has_partial_checksum = (sent.flags & RTE_MBUF_F_TX_L4_MASK) != 0,
                    .frame = std::move(sent.bytes)};
    if ((sent.flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)) == 0) return arrival;
    arrival.headers = sent.header_lengths[0] + sent.header_lengths[1] + sent.header_lengths[2];
    arrival.segment_size = sent.segment_size;
    return arrival;
  }
  static Arrival at_guest(PortIndex port, GuestRings::Received& received) {
    const NetHeader& header = received.header;
    Arrival arrival{.port = port,
                    .has_partial_checksum = (header.flags & NetHeader::kNeedsChecksum) != 0,
                    .frame = std::move(received.frame)};
    const std::size_t field = std::size_t{header.checksum_start} + header.checksum_offset;
    if (arrival.has_partial_checksum && field + 2 > arrival.frame.size())
      fault("a guest is told of a checksum beyond the frame");
    if (header.segmentation == 0) return arrival;
    if (!arrival.has_partial_checksum) fault("a super-frame whose guest is told of no checksum");
    arrival.headers = header.headers_length;
    arrival.segment_size = header.segment_size;
    return arrival;
  }

  std::byte fill_;
  rte_mempool* pool_;
  std::array<GuestRings, kGuests> guests_;
  GatewayBed gateway_;
};

// ---- what is promised

std::string hex(const Bytes& bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    char digits[4];
    std::snprintf(digits, sizeof digits, "%02x ", static_cast<unsigned>(byte));
    text += digits;
  }
  return text;
}

void require(bool is_true, const char* statement, const Arrival& arrival) {
  if (is_true) return;
  fault(std::string(statement) + ": port " + std::to_string(arrival.port) + ", " +
        std::to_string(arrival.frame.size()) + " bytes in segments of " +
        std::to_string(arrival.segment_size) + " behind " + std::to_string(arrival.headers) + ": " +
        hex(arrival.frame));
}

// Nothing leaves that is too long for the way, VLAN tags between VMs aside; a super-frame's segments neither.
void check_size(const Arrival& arrival) {
  const std::size_t tags = arrival.port == kUplink ? 0 : kTags, size = arrival.frame.size();
  if (arrival.headers == 0 && arrival.segment_size == 0)
    return require(size <= net::kIpOffset + kMtu + tags, "a frame longer than the MTU", arrival);
  require(arrival.headers + arrival.segment_size <= net::kIpOffset + kMtu + tags,
          "a super-frame whose segments are longer than the MTU", arrival);
  require(arrival.segment_size != 0 && arrival.headers + arrival.segment_size < size,
          "a super-frame in which there is nothing to cut", arrival);
  require(size <= net::kIpOffset + kLongestPacket + tags, "a super-frame longer than any packet", arrival);
}

// Of what was routed: frames of up to 60 bytes may be padded, as on every Ethernet.
void check_end(const Arrival& arrival) {
  const Bytes& frame = arrival.frame;
  if (frame.size() <= 60 || word_at(frame, 12) != 0x0800) return;
  require(frame.size() == net::kIpOffset + word_at(frame, 16), "a packet that does not end where it says",
          arrival);
}

// The frame as the guest means it. One whose header and bytes disagree on the checksum means nothing:
// whatever sum comes of it is the guest's own.
Output meant_by(const Step& step) {
  Output output{step.port, step.frame};
  if (!is_guest(step.port) || (step.header.flags & NetHeader::kNeedsChecksum) == 0) return output;
  const auto [l4, field] = checksum_place(step.frame);
  if ((step.mends & kMendPartial) != 0 && step.header.checksum_start == l4 &&
      step.header.checksum_offset == field)
    mend(output.frame, kMendL4);
  else
    output.frame.clear();
  return output;
}

// As frames of which nothing is left to do.
void add_finished(std::vector<Output>& outputs, const Arrival& arrival) {
  Output output{arrival.port, arrival.frame};
  if (arrival.segment_size != 0) {
    for (Output& segment : segments_of(output, arrival.segment_size)) {
      segment.was_merged = arrival.port != kUplink;  // else its sender has made it a super-frame
      outputs.push_back(std::move(segment));
    }
    return;
  }
  if (arrival.has_partial_checksum) mend(output.frame, kMendL4);
  outputs.push_back(std::move(output));
}

// What was switched from VM to VM may be anything, in any size that fits.
void check(const std::vector<Step>& steps, const std::vector<Arrival>& arrivals) {
  const bool is_inbound = steps.front().port == kUplink;
  std::vector<Output> inputs, outputs;
  for (const Step& step : steps) inputs.push_back(meant_by(step));
  for (const Arrival& arrival : arrivals) {
    check_size(arrival);
    if (arrival.port != kUplink && !is_inbound) continue;
    check_end(arrival);
    add_finished(outputs, arrival);
  }
  check_outputs(inputs, outputs);
}

// ---- the two gateways

class Twins {
 public:
  Twins(unsigned number, const Kind& kind)
      : one_(2 * number, kind, std::byte{0x55}), other_(2 * number + 1, kind, std::byte{0xaa}) {}

  void start() {
    one_.start();
    other_.start();
    one_.take_punted();
    other_.take_punted();
  }
  void put(const std::vector<Step>& steps) {
    const std::vector<Arrival> arrivals = one_.put(steps);
    check(steps, arrivals);
    const std::vector<Arrival> others = other_.put(steps);
    for (std::size_t i = 0; i < arrivals.size(); ++i)
      require(i < others.size() && arrivals[i] == others[i], "a frame with bytes that nobody gave",
              arrivals[i]);
    if (arrivals.size() != others.size()) fault("bytes that nobody gave decide whether a frame is sent");
    if (one_.take_punted() != other_.take_punted()) fault("a punted frame with bytes that nobody gave");
  }
  void finish() {
    one_.finish();
    other_.finish();
  }

 private:
  Gateway one_, other_;
};

Twins& twins_of(std::uint8_t choice) {
  static std::array<std::unique_ptr<Twins>, kKinds.size()> twins;
  const unsigned which = choice % kKinds.size();
  if (!twins[which]) twins[which] = std::make_unique<Twins>(which, kKinds[which]);
  return *twins[which];
}

}  // namespace
}  // namespace vmnat::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace vmnat::fuzz;
  std::span<const std::uint8_t> input{bytes, size};
  if (input.empty()) return 0;
  Twins& twins = twins_of(input[0]);
  twins.start();
  input = input.subspan(1);
  Step step;
  std::vector<Step> burst;
  const auto play_burst = [&] {
    if (!burst.empty()) twins.put(burst);
    burst.clear();
  };
  for (unsigned i = 0; i < GuestRings::kMostSent && next_step(input, step); ++i) {
    if (!burst.empty() && burst.back().port != step.port) play_burst();
    burst.push_back(step);
    if ((step.mends & kSameBurst) == 0) play_burst();
  }
  play_burst();
  twins.finish();
  return 0;
}

std::vector<std::vector<std::uint8_t>> vmnat::fuzz::seeds() {
  return guest_seeds();
}
