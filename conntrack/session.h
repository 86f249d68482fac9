// SPDX-License-Identifier: Apache-2.0
// Session: one conntrack record for both directions, in one cache line.
//
// It holds the three endpoints, the rewrite of either direction (decided once, when the session opens), where
// inbound frames go, the TCP state, and what is counted. Eight words, low bits first:
//
//   remote    | address 32, port 16, protocol 8, state 4, packets' highest 2 outbound, 2 inbound |
//   internal  | address 32, port 16, VM port 16          |      when free: index of the next free record
//   external  | address 32, port 16, address delta 16    |
//   place     | MAC of the VM 48, L4 delta 16            |
//   activity  | last seen 32, policy 12, flags 4, version 16 |
//   outbound  | packets' low 18, bytes 46 |   inbound: the same
//   tracked   | sequence 32, packets' middle 16 outbound, 16 inbound |
//
// `sequence` is TCP's alone: it tells the remote's segments from a stranger's (conntrack_tcp_tracking.cc).
// The VM port is the switch's port that the VM is behind.
//
// Only the owning worker writes, each word by one release store (a plain mov). Readers on other threads copy
// the record between two equal, even versions and two equal counts (copied()), so they see it whole.
//
// Records may outlive their process: a session goes on in the next one from a copy of its record (revive()).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "base/cache_line.h"
#include "base/ids.h"
#include "base/time.h"
#include "conntrack/flow_key.h"
#include "conntrack/tcp_state.h"
#include "net/checksum.h"

namespace vmnat::conntrack {

// How to translate a frame in one direction. `endpoint` replaces the local one: the source of outbound
// frames, the destination of inbound ones.
struct Rewrite {
  net::Endpoint endpoint;
  net::ChecksumDelta address_delta;  // for the IPv4 header, and for L4 checksums that the sender left partial
  net::ChecksumDelta l4_delta;       // for finished L4 checksums: address and port; of ICMP the identifier
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
    kPrivatePort = 2,  // endpoint-dependent: it has a port of its own, not its internal endpoint's mapping
    kPermits = 4,      // lets its remote's address in (address-dependent filtering)
    kInvited = 8       // the remote opened it
  };

  [[nodiscard]] net::Endpoint internal() const { return FlowKey::unpack(internal_); }
  [[nodiscard]] net::Endpoint external() const { return FlowKey::unpack(external_); }
  [[nodiscard]] net::Endpoint remote() const { return FlowKey::unpack(remote_); }
  [[nodiscard]] net::Protocol protocol() const { return FlowKey{remote_, 0}.protocol(); }
  [[nodiscard]] SessionState state() const { return static_cast<SessionState>(remote_ >> 56 & 0xf); }
  [[nodiscard]] bool in_use() const { return state() != SessionState::Free; }
  [[nodiscard]] PortIndex vm_port() const { return static_cast<PortIndex>(internal_ >> 48); }
  [[nodiscard]] net::MacAddr internal_mac() const;
  [[nodiscard]] std::uint16_t policy() const { return (activity_ >> 32) & 0xfff; }
  [[nodiscard]] bool has(Flag flag) const { return (activity_ >> 44) & flag; }
  [[nodiscard]] Time last_seen() const { return Time{Ticks{static_cast<std::uint32_t>(activity_)}}; }
  [[nodiscard]] std::uint64_t packets(Direction direction) const;  // modulo 2^36: 69 G
  [[nodiscard]] std::uint64_t bytes(Direction direction) const;    // modulo 2^46: 70 TB

  // Who opened it: the VM, or the remote.
  [[nodiscard]] Direction opener() const { return has(kInvited) ? Direction::Inbound : Direction::Outbound; }
  // Both sides want it: an open TCP connection, or an exchange that was answered. It is never ended for
  // another session (Conntrack::evict).
  [[nodiscard]] bool is_assured() const {
    if (is_tcp(state())) return is_live(state());
    return traffic_[0] != 0 && traffic_[1] != 0;
  }

  [[nodiscard]] FlowKey outbound_key() const {
    return {remote_ & FlowKey::kRemoteMask, internal_ & FlowKey::kLocalMask};
  }
  [[nodiscard]] FlowKey inbound_key() const {
    return {remote_ & FlowKey::kRemoteMask, external_ & FlowKey::kLocalMask};
  }
  // Internal and external endpoints are of different addresses or one, so either match is the match.
  [[nodiscard]] bool is_for(const FlowKey& key) const {
    const std::uint64_t other_remote = (remote_ ^ key.remote) & FlowKey::kRemoteMask;
    const std::uint64_t other_internal = (internal_ ^ key.local) & FlowKey::kLocalMask;
    const std::uint64_t other_external = (external_ ^ key.local) & FlowKey::kLocalMask;
    return other_remote == 0 && (other_internal == 0 || other_external == 0);
  }

  // Its keys are one.
  [[nodiscard]] bool is_untranslated() const { return ((internal_ ^ external_) & FlowKey::kLocalMask) == 0; }
  // For a key that is_for(): whether it is the outbound key.
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

  // One packet of `bytes` was translated. ICMP errors are not counted: they keep nothing alive (RFC 5508
  // REQ-6).
  template <Direction direction>
  void count(std::uint32_t bytes);
  // Called after count(), not for TCP. Outbound packets keep the session alive; inbound ones do once the VM
  // has sent, so that no stranger holds a mapping open by itself (RFC 4787 REQ-6). A side that asked a
  // question, was answered and sends again turns AskedUdp into OpenUdp.
  template <Direction direction>
  void keep_alive(Time now);

  // TCP: an acknowledgement or data of a live connection. Only these are frequent.
  [[nodiscard]] bool is_flowing(std::uint8_t tcp_flags) const {
    using Tcp = net::TcpHeader;
    return (tcp_flags & (Tcp::kSyn | Tcp::kFin | Tcp::kRst | Tcp::kAck)) == Tcp::kAck && is_live(state());
  }
  // From such a segment, the number that the remote sends next: from data that come in order, and from what
  // the VM acknowledges, unless that only lags behind.
  template <Direction direction>
  void track(const TcpSegment& segment);
  // The session's time begins anew. For TCP, where only some segments renew it (Conntrack::follow_tcp).
  void refresh(Time now);

  // For Conntrack: the writer's side.
  void open(const Identity& identity, SessionState state, std::uint8_t flags, Time now);
  void set_state(SessionState state);
  // While the connection opens: the number that the remote has to acknowledge. Afterwards: the sequence
  // number of the remote's next segment, if nothing is lost.
  [[nodiscard]] std::uint32_t sequence() const { return static_cast<std::uint32_t>(tracked_); }
  void set_sequence(std::uint32_t sequence) {
    store(tracked_, (tracked_ & ~std::uint64_t{0xffff'ffff}) | sequence);
  }
  void add(Flag flag);
  void set_place(PortIndex vm_port, net::MacAddr mac);
  [[nodiscard]] bool is_at(PortIndex vm_port, net::MacAddr mac) const {
    return ((place_ ^ mac.as_word()) & FlowKey::kLocalMask) == 0 && this->vm_port() == vm_port;
  }
  void free(std::uint32_t next_free);
  [[nodiscard]] std::uint32_t next_free() const { return static_cast<std::uint32_t>(internal_); }

  // For a copy of a record that an earlier process has left. Its writer was ended while it wrote.
  [[nodiscard]] bool is_torn() const { return (activity_ & kVersionOne) != 0; }
  // State and ports are those of the protocol, the deltas those of the endpoints, the MAC is a station's.
  [[nodiscard]] bool is_sound() const;
  // Becomes the session that `former` was, with all that it has counted, at its place in this process. Its
  // permission is granted anew, if it is.
  void revive(const Session& former, std::uint16_t policy, PortIndex vm_port, Time last_seen);

  // A whole copy of the record, for any thread. Holds nobody up: it tries again while the owner writes.
  [[nodiscard]] Session copied() const;

 private:
  static constexpr std::uint64_t kVersionOne = std::uint64_t{1} << 48;
  static constexpr std::uint64_t kVersionMask = ~(kVersionOne - 1);
  static constexpr std::uint64_t kStateMask = std::uint64_t{0xf} << 56;
  static constexpr unsigned kFlagShift = 44;
  static constexpr unsigned kLowBits = 18, kMiddleBits = 16, kHighBits = 2;  // of packets
  static constexpr std::uint64_t kLowMask = (std::uint64_t{1} << kLowBits) - 1;
  // How far the VM's acknowledgements lag behind what has come, at most: no receive window is larger.
  static constexpr std::uint32_t kLag = 64u << 20;
  using Words = std::array<std::uint64_t, 8>;

  static constexpr unsigned middle_shift(unsigned direction) { return 32 + kMiddleBits * direction; }
  static constexpr unsigned high_shift(unsigned direction) { return 60 + kHighBits * direction; }
  static void store(std::uint64_t& word, std::uint64_t value) {
    // Release, though it costs nothing: a reader that sees this word sees the odd version before it.
    std::atomic_ref(word).store(value, std::memory_order_release);
  }
  [[gnu::cold]] void carry(unsigned direction, std::uint64_t counted);
  [[gnu::cold]] void catch_up(std::uint32_t acknowledged);
  void start_writing() { store(activity_, activity_ + kVersionOne); }
  void finish_writing(std::uint64_t activity) { store(activity_, activity + kVersionOne); }

  std::uint64_t remote_ = 0;
  std::uint64_t internal_ = 0;
  std::uint64_t external_ = 0;
  std::uint64_t place_ = 0;
  std::uint64_t activity_ = 0;
  std::array<std::uint64_t, 2> traffic_{};  // by direction
  std::uint64_t tracked_ = 0;
};
static_assert(sizeof(Session) == kCacheLineSize);
static_assert(alignof(Session) == kCacheLineSize);
static_assert(std::is_trivially_copyable_v<Session> && std::is_standard_layout_v<Session>);
static_assert(kSessionStates <= 16);

inline net::MacAddr Session::internal_mac() const {
  net::MacAddr mac;
  std::memcpy(mac.bytes.data(), &place_, sizeof mac);
  return mac;
}

inline std::uint64_t Session::packets(Direction direction) const {
  const auto i = static_cast<unsigned>(direction);
  const std::uint64_t middle = tracked_ >> middle_shift(i) & ((1u << kMiddleBits) - 1);
  const std::uint64_t high = remote_ >> high_shift(i) & ((1u << kHighBits) - 1);
  return (high << kMiddleBits | middle) << kLowBits | (traffic_[i] & kLowMask);
}

inline std::uint64_t Session::bytes(Direction direction) const {
  return traffic_[static_cast<unsigned>(direction)] >> kLowBits;
}

template <Direction direction>
void Session::count(std::uint32_t bytes) {
  constexpr auto i = static_cast<unsigned>(direction);
  const std::uint64_t counted = traffic_[i] + (std::uint64_t{bytes} << kLowBits) + 1;
  if ((counted & kLowMask) == 0) return carry(i, counted);  // once in 262 144 packets
  store(traffic_[i], counted);
}

inline void Session::refresh(Time now) {
  const std::uint64_t activity = (activity_ & ~std::uint64_t{0xffff'ffff}) | now.time_since_epoch().count();
  if (activity != activity_) store(activity_, activity);  // once a tick of the clock
}

template <Direction direction>
void Session::keep_alive(Time now) {
  constexpr std::uint64_t spoken = std::uint64_t{kSpoken} << kFlagShift;
  constexpr auto answers = 1 - static_cast<unsigned>(direction);
  if (state() == SessionState::AskedUdp && opener() == direction && traffic_[answers] != 0)
    set_state(SessionState::OpenUdp);
  std::uint64_t activity = activity_;
  if (direction == Direction::Outbound) activity |= spoken;
  if (activity & spoken) activity = (activity & ~std::uint64_t{0xffff'ffff}) | now.time_since_epoch().count();
  if (activity != activity_) store(activity_, activity);
}

template <Direction direction>
void Session::track(const TcpSegment& segment) {
  if constexpr (direction == Direction::Inbound) {
    if (segment.sequence == sequence()) set_sequence(segment.sequence + segment.payload);
  } else if (sequence() - segment.acknowledged > kLag) {
    catch_up(segment.acknowledged);
  }
}

}  // namespace vmnat::conntrack
