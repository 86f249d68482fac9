// SPDX-License-Identifier: Apache-2.0
// What happens to a record once in a session's life, and copying it on other threads.
#include "conntrack/session.h"

#include "conntrack/query_port.h"

namespace vmnat::conntrack {
namespace {

// ICMP has no pseudo-header: only the identifier changes its checksum (RFC 792).
net::ChecksumDelta l4_delta(const Session::Identity& identity, net::ChecksumDelta address_delta) {
  const auto port_delta = net::ChecksumDelta::of(identity.internal.port, identity.external.port);
  return identity.protocol == net::Protocol::Icmp ? port_delta : address_delta + port_delta;
}

// Whether sessions of this protocol are in this state, and have such ports.
bool suits(SessionState state, const Session::Identity& identity) {
  const net::L4Port remote_port = identity.remote.port;
  switch (identity.protocol) {
    case net::Protocol::Tcp:
      return is_tcp(state);
    case net::Protocol::Udp:
      return state == SessionState::OpenUdp || state == SessionState::AskedUdp;
    case net::Protocol::Icmp:
      return state == SessionState::OpenIcmp && (remote_port == kInsideAsks || remote_port == kRemoteAsks);
  }
  return state == SessionState::OpenOther && remote_port == net::L4Port{} &&
         identity.internal.port == net::L4Port{} && identity.external.port == net::L4Port{};
}

}  // namespace

void Session::open(const Identity& identity, SessionState state, std::uint8_t flags, Time now) {
  const auto address_delta = net::ChecksumDelta::of(identity.internal.address, identity.external.address);
  const FlowKey key = FlowKey::of(identity.internal, identity.remote, identity.protocol);
  start_writing();
  store(remote_, key.remote | static_cast<std::uint64_t>(state) << 56);
  store(internal_, key.local);
  store(external_, FlowKey::pack(identity.external) | std::uint64_t{address_delta.raw()} << 48);
  store(place_, std::uint64_t{l4_delta(identity, address_delta).raw()} << 48);
  for (auto& word : traffic_) store(word, 0);
  store(tracked_, 0);
  const std::uint64_t version = activity_ & kVersionMask;
  finish_writing(version | std::uint64_t{flags} << kFlagShift | std::uint64_t{identity.policy} << 32 |
                 now.time_since_epoch().count());
}

bool Session::is_sound() const {
  const net::ChecksumDelta address_delta = net::ChecksumDelta::of(internal().address, external().address);
  const Identity identity{internal(), external(), remote(), protocol(), policy()};
  return suits(state(), identity) && static_cast<std::uint16_t>(external_ >> 48) == address_delta.raw() &&
         static_cast<std::uint16_t>(place_ >> 48) == l4_delta(identity, address_delta).raw() &&
         !internal_mac().is_group();
}

void Session::revive(const Session& former, std::uint16_t policy, PortIndex vm_port, Time last_seen) {
  constexpr std::uint64_t flags = (std::uint64_t{kSpoken | kPrivatePort | kInvited} << kFlagShift);
  start_writing();
  store(remote_, former.remote_);
  store(internal_, (former.internal_ & FlowKey::kLocalMask) | std::uint64_t{vm_port} << 48);
  store(external_, former.external_);
  store(place_, former.place_);
  for (unsigned i = 0; i < 2; ++i) store(traffic_[i], former.traffic_[i]);
  store(tracked_, former.tracked_);
  finish_writing((activity_ & kVersionMask) | (former.activity_ & flags) | std::uint64_t{policy} << 32 |
                 last_seen.time_since_epoch().count());
}

void Session::set_state(SessionState state) {
  start_writing();
  store(remote_, (remote_ & ~kStateMask) | static_cast<std::uint64_t>(state) << 56);
  finish_writing(activity_);
}

void Session::add(Flag flag) {
  start_writing();
  finish_writing(activity_ | static_cast<std::uint64_t>(flag) << kFlagShift);
}

void Session::set_place(PortIndex vm_port, net::MacAddr mac) {
  start_writing();
  store(internal_, (internal_ & FlowKey::kLocalMask) | std::uint64_t{vm_port} << 48);
  store(place_, (place_ & ~FlowKey::kLocalMask) | mac.as_word());
  finish_writing(activity_);
}

void Session::free(std::uint32_t next_free) {
  start_writing();
  store(remote_, static_cast<std::uint64_t>(SessionState::Free) << 56);
  store(internal_, next_free);
  finish_writing(activity_);
}

// The low bits of the packets have run over into the bytes.
void Session::carry(unsigned direction, std::uint64_t counted) {
  const unsigned shift = middle_shift(direction);
  const std::uint64_t middle_mask = std::uint64_t{(1u << kMiddleBits) - 1} << shift;
  const std::uint64_t high_mask = std::uint64_t{(1u << kHighBits) - 1} << high_shift(direction);
  const std::uint64_t middle = (tracked_ + (std::uint64_t{1} << shift)) & middle_mask;
  start_writing();
  store(traffic_[direction], counted - (kLowMask + 1));
  store(tracked_, (tracked_ & ~middle_mask) | middle);
  if (middle == 0)
    store(remote_,
          (remote_ & ~high_mask) | ((remote_ + (std::uint64_t{1} << high_shift(direction))) & high_mask));
  finish_writing(activity_);
}

// The VM has acknowledged more than has come in order: segments that came out of order are not remembered.
// After the remote's FIN nothing more can come, so that FIN was somebody else's.
void Session::catch_up(std::uint32_t acknowledged) {
  set_sequence(acknowledged);
  if (state() == SessionState::FinInbound) set_state(SessionState::Established);
}

Session Session::copied() const {
  // The record is shared memory; atomic_ref<const T> comes with C++26 only.
  auto& shared = const_cast<Session&>(*this);
  const auto load = [](std::uint64_t& word) {
    return std::atomic_ref(word).load(
        std::memory_order_acquire);  // the second look at `activity_` stays behind
  };
  Session copy;
  for (;;) {
    copy.activity_ = load(shared.activity_);
    for (unsigned i = 0; i < 2; ++i) copy.traffic_[i] = load(shared.traffic_[i]);
    copy.remote_ = load(shared.remote_);
    copy.internal_ = load(shared.internal_);
    copy.external_ = load(shared.external_);
    copy.place_ = load(shared.place_);
    copy.tracked_ = load(shared.tracked_);
    const bool is_written = copy.activity_ & kVersionOne;
    if (!is_written && load(shared.traffic_[0]) == copy.traffic_[0] &&
        load(shared.traffic_[1]) == copy.traffic_[1] &&
        ((load(shared.activity_) ^ copy.activity_) & kVersionMask) == 0)
      return copy;
  }
}

}  // namespace vmnat::conntrack
