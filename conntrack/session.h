// SPDX-License-Identifier: Apache-2.0
// Session: one conntrack record for both directions, in one cache line.
//
// It holds the three endpoints, the rewrite of either direction (decided once, when the session opens),
// where inbound frames go, the TCP state, and what is counted. Eight words, low bits first:
//
//   remote    | address 32, port 16, protocol 8, state 8 |
//   internal  | address 32, port 16, port of the VM 16   |      when free: index of the next free record
//   external  | address 32, port 16, address delta 16    |
//   place     | MAC of the VM 48, L4 delta 16            |
//   activity  | last seen 32, policy 12, flags 4, sequence 16 |
//   outbound  | bytes 52, packets' high 12 |   inbound: the same   | packets' low 32: outbound, inbound |
//
// Written by the owning worker only, each word by one release store (a plain mov). Readers on other threads
// copy the record between two equal, even sequences and two equal counts of packets (copied()): they see it
// whole, except that `bytes` may have the packet already that is just being counted.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "conntrack/flow_key.h"
#include "conntrack/tcp_state.h"
#include "dataplane/net/checksum.h"

namespace vmnat::conntrack {

inline constexpr std::size_t kCacheLineSize = 64;

// Index of a port in the configuration's order; the dataplane gives it its meaning.
using PortIndex = std::uint16_t;

// What a frame needs to be translated one way. Addresses and ports replace the local endpoint's: the
// source of outbound frames, the destination of inbound ones.
struct Rewrite {
  net::Endpoint endpoint;
  net::ChecksumDelta address_delta;  // IPv4 header; L4 checksums kept partial by the sender
  net::ChecksumDelta l4_delta;  // address and port: finished TCP/UDP checksums. ICMP: the identifier alone
};

class alignas(kCacheLineSize) Session {
 public:
  // What a session is made of; immutable while it lives.
  struct Identity {
    net::Endpoint internal;
    net::Endpoint external;
    net::Endpoint remote;
    net::Protocol protocol;
    std::uint16_t policy;  // id, below kMaxPolicies
  };
  enum Flag : std::uint8_t {
    kSpoken = 1,       // the VM has sent: inbound packets may keep the session alive (RFC 4787 REQ-6)
    kPrivatePort = 2,  // endpoint-dependent: the session is no user of its internal endpoint's mapping
    kPermits = 4       // grants its remote's address (address-dependent filtering)
  };

  [[nodiscard]] net::Endpoint internal() const { return FlowKey::unpack(internal_); }
  [[nodiscard]] net::Endpoint external() const { return FlowKey::unpack(external_); }
  [[nodiscard]] net::Endpoint remote() const { return FlowKey::unpack(remote_); }
  [[nodiscard]] net::Protocol protocol() const { return FlowKey{remote_, 0}.protocol(); }
  [[nodiscard]] SessionState state() const { return static_cast<SessionState>(remote_ >> 56); }
  [[nodiscard]] bool in_use() const { return state() != SessionState::Free; }
  [[nodiscard]] PortIndex port() const { return static_cast<PortIndex>(internal_ >> 48); }
  [[nodiscard]] net::MacAddr internal_mac() const;
  [[nodiscard]] std::uint16_t policy() const { return (activity_ >> 32) & 0xfff; }
  [[nodiscard]] bool has(Flag flag) const { return (activity_ >> 44) & flag; }
  [[nodiscard]] Time last_seen() const { return Time{Ticks{static_cast<std::uint32_t>(activity_)}}; }
  [[nodiscard]] std::uint64_t packets(Direction direction) const;
  [[nodiscard]] std::uint64_t bytes(Direction direction) const;  // modulo 2^52: 4.5 PB

  [[nodiscard]] FlowKey outbound_key() const {
    return {remote_ & FlowKey::kRemoteMask, internal_ & FlowKey::kLocalMask};
  }
  [[nodiscard]] FlowKey inbound_key() const {
    return {remote_ & FlowKey::kRemoteMask, external_ & FlowKey::kLocalMask};
  }
  // Internal and external endpoints never coincide, so either match is the match.
  [[nodiscard]] bool is_for(const FlowKey& key) const {
    const std::uint64_t other_remote = (remote_ ^ key.remote) & FlowKey::kRemoteMask;
    const std::uint64_t other_internal = (internal_ ^ key.local) & FlowKey::kLocalMask;
    const std::uint64_t other_external = (external_ ^ key.local) & FlowKey::kLocalMask;
    return other_remote == 0 && (other_internal == 0 || other_external == 0);
  }

  // Of a key that the session is for: whether it is the outbound one.
  [[nodiscard]] bool is_from_inside(const FlowKey& key) const {
    return ((internal_ ^ key.local) & FlowKey::kLocalMask) == 0;
  }

  template <Direction direction>
  [[nodiscard]] Rewrite rewrite() const {
    const auto address = net::ChecksumDelta::from_raw(static_cast<std::uint16_t>(external_ >> 48));
    const auto l4 = net::ChecksumDelta::from_raw(static_cast<std::uint16_t>(place_ >> 48));
    if constexpr (direction == Direction::Outbound) return {external(), address, l4};
    return {internal(), address.negated(), l4.negated()};
  }
  [[nodiscard]] Rewrite rewrite(Direction direction) const {
    return direction == Direction::Outbound ? rewrite<Direction::Outbound>() : rewrite<Direction::Inbound>();
  }

  // One packet of `bytes` was translated. Outbound packets keep the session alive, inbound ones once the VM
  // has answered (RFC 4787 REQ-6: a stranger cannot hold a mapping open by itself). ICMP errors are not
  // counted here: they keep nothing alive (RFC 5508 REQ-6).
  template <Direction direction>
  void count(std::uint32_t bytes, Time now);
  void count(Direction direction, std::uint32_t bytes, Time now) {
    direction == Direction::Outbound ? count<Direction::Outbound>(bytes, now)
                                     : count<Direction::Inbound>(bytes, now);
  }

  // For Conntrack: the writer's side.
  void open(const Identity& identity, SessionState state, std::uint8_t flags, Time now);
  void set_state(SessionState state);
  void add(Flag flag);
  void set_place(PortIndex port, net::MacAddr mac);
  [[nodiscard]] bool is_at(PortIndex port, net::MacAddr mac) const {
    return ((place_ ^ mac.as_word()) & FlowKey::kLocalMask) == 0 && this->port() == port;
  }
  void free(std::uint32_t next_free);
  [[nodiscard]] std::uint32_t next_free() const { return static_cast<std::uint32_t>(internal_); }

  // A whole copy of the record, from any thread. Waits for no one: tries again while the owner writes.
  [[nodiscard]] Session copied() const;

 private:
  static constexpr std::uint64_t kSequenceOne = std::uint64_t{1} << 48;
  static constexpr std::uint64_t kSequenceMask = ~(kSequenceOne - 1);
  static constexpr std::uint64_t kBytesMask = (std::uint64_t{1} << 52) - 1;
  using Words = std::array<std::uint64_t, 8>;

  static void store(std::uint64_t& word, std::uint64_t value) {
    // Release, though it costs nothing: a reader that sees this word sees the odd sequence before it.
    std::atomic_ref(word).store(value, std::memory_order_release);
  }
  [[gnu::cold]] void start_carrying(unsigned direction);
  void start_writing() { store(activity_, activity_ + kSequenceOne); }
  void finish_writing(std::uint64_t activity) { store(activity_, activity + kSequenceOne); }

  std::uint64_t remote_ = 0;
  std::uint64_t internal_ = 0;
  std::uint64_t external_ = 0;
  std::uint64_t place_ = 0;
  std::uint64_t activity_ = 0;
  std::array<std::uint64_t, 2> bytes_{};  // and the high bits of packets
  std::uint64_t packets_ = 0;
};
static_assert(sizeof(Session) == kCacheLineSize && alignof(Session) == kCacheLineSize);
static_assert(std::is_trivially_copyable_v<Session> && std::is_standard_layout_v<Session>);

inline net::MacAddr Session::internal_mac() const {
  net::MacAddr mac;
  std::memcpy(mac.bytes.data(), &place_, sizeof mac);
  return mac;
}

inline std::uint64_t Session::packets(Direction direction) const {
  const auto i = static_cast<unsigned>(direction);
  return (bytes_[i] >> 52 << 32) | static_cast<std::uint32_t>(packets_ >> (32 * i));
}

inline std::uint64_t Session::bytes(Direction direction) const {
  return bytes_[static_cast<unsigned>(direction)] & kBytesMask;
}

template <Direction direction>
void Session::count(std::uint32_t bytes, Time now) {
  constexpr auto i = static_cast<unsigned>(direction);
  constexpr std::uint64_t low_bits = std::uint64_t{0xffff'ffff} << (32 * i);
  const std::uint64_t low = (packets_ + (std::uint64_t{1} << (32 * i))) & low_bits;
  const bool carries = low == 0;  // once in 4 G packets
  if (carries) start_carrying(i);
  store(bytes_[i], (bytes_[i] & ~kBytesMask) | ((bytes_[i] + bytes) & kBytesMask));
  store(packets_, (packets_ & ~low_bits) | low);
  if (carries) finish_writing(activity_);
  std::uint64_t activity = activity_;
  if (direction == Direction::Outbound) activity |= std::uint64_t{kSpoken} << 44;
  if (activity & (std::uint64_t{kSpoken} << 44))
    activity = (activity & ~std::uint64_t{0xffff'ffff}) | now.time_since_epoch().count();
  if (activity != activity_) store(activity_, activity);  // once a tick of the clock
}

}  // namespace vmnat::conntrack
