// SPDX-License-Identifier: Apache-2.0
// The generator's frames: how they are made with few stores, and how they are checked.
//
// All frames of a run are alike but for 32 adjacent bytes, which hold everything that depends on the flow.
// Every buffer gets the template once; a frame is then made by one 32-byte store (a FlowPatch, computed
// beforehand):
//
//   0          14            24                               42      44     48     52      56      60
//   | Ethernet | IPv4 to TTL | IP sum, addresses, UDP header | magic | flow | time | ~time | pattern ...
//                            |<-------------- FlowPatch, 32 bytes ------------------------>|
//
// Sizes are as on the wire: a 64-byte frame is 60 bytes and the FCS. Both checksums are complete and valid. A
// time stamp (the low 32 bits of the TSC) goes with its complement: both together add nothing to a one's
// complement sum, so a frame is stamped by one 8-byte store, and even the smallest has room for it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <span>
#include <string_view>
#include <vector>

#include "bench/generator/flows.h"
#include "net/wire.h"

namespace vmnat::bench {

inline constexpr std::size_t kFcsLength = 4;
inline constexpr std::size_t kSmallestFrame = 64;
inline constexpr std::size_t kLargestFrame = 1518;
inline constexpr std::uint8_t kSentTtl = 64;

struct alignas(32) FlowPatch {
  static constexpr std::size_t kOffset = 24;  // in the frame: the IPv4 header's checksum field
  std::array<std::byte, 32> bytes;

  void apply_to(std::byte* frame) const { std::memcpy(frame + kOffset, bytes.data(), bytes.size()); }
};
static_assert(sizeof(FlowPatch) == 32);
static_assert(FlowPatch::kOffset == sizeof(net::EthernetHeader) + offsetof(net::Ipv4Header, checksum));

// When a frame was sent, in ticks modulo 2^32: differences below 1.8 s at 2.3 GHz are exact.
struct TimeStamp {
  static constexpr std::size_t kOffset = 48;
  static void write(std::byte* frame, std::uint32_t ticks) {
    const std::uint64_t both = ticks | std::uint64_t{~ticks} << 32;
    std::memcpy(frame + kOffset, &both, sizeof both);
  }
  static std::uint32_t read(const std::byte* frame) {
    std::uint32_t ticks;
    std::memcpy(&ticks, frame + kOffset, sizeof ticks);
    return ticks;
  }
};

// Gives a frame that holds the template of the largest size another length; the patch has the rest.
inline void set_ip_length(std::byte* frame, std::size_t frame_length) {
  const auto length =
      net::Be16::from_host(static_cast<std::uint16_t>(frame_length - sizeof(net::EthernetHeader)));
  std::memcpy(frame + sizeof(net::EthernetHeader) + offsetof(net::Ipv4Header, total_length), &length,
              sizeof length);
}

class FrameTemplate {
 public:
  // `wire_size` counts the FCS: 64..1518.
  FrameTemplate(std::size_t wire_size, net::MacAddr from, net::MacAddr to);

  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }
  [[nodiscard]] std::size_t length() const { return bytes_.size(); }
  [[nodiscard]] FlowPatch patch_of(const Tuple& tuple, FlowNumber flow) const;

 private:
  std::vector<std::byte> bytes_;
  std::uint64_t tail_sum_ = 0;  // of what no patch touches
};

// What can be wrong with a received frame; one table gives enum, text and counter.
#define VMNAT_BENCH_FAULTS(X)                                   \
  X(None, "none")                                               \
  X(Foreign, "not a frame of this run")                         \
  X(IpChecksum, "wrong IPv4 header checksum")                   \
  X(UdpChecksum, "wrong UDP checksum")                          \
  X(TcpChecksum, "wrong TCP checksum")                          \
  X(Payload, "payload changed")                                 \
  X(RemoteEndpoint, "remote endpoint changed")                  \
  X(InternalEndpoint, "delivered to another internal endpoint") \
  X(VmPort, "delivered to another VM port")                     \
  X(ExternalAddress, "source is not an external address")       \
  X(ExternalPort, "source port below 1024")                     \
  X(Ttl, "TTL not decremented by one")                          \
  X(Mapping, "external endpoint changed during the flow")
enum class Fault : std::uint8_t {
#define X(name, text) name,
  VMNAT_BENCH_FAULTS(X)
#undef X
};
inline constexpr std::string_view kFaultTexts[] = {
#define X(name, text) text,
    VMNAT_BENCH_FAULTS(X)
#undef X
};
inline constexpr std::size_t kFaultKinds = std::size(kFaultTexts);
std::string_view text_of(Fault fault);

struct ReceivedFrame {
  Fault fault = Fault::Foreign;
  Tuple tuple;
  FlowNumber flow = 0;
  std::uint8_t ttl = 0;
};

// Reads a frame that may have been translated on its way: addresses, ports, TTL may differ, all else is
// verified.
ReceivedFrame read_frame(std::span<const std::byte> frame);

}  // namespace vmnat::bench
