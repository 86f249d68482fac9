// SPDX-License-Identifier: Apache-2.0
// Permissions: which remote addresses may send to an external endpoint, whatever their port.
//
// Only for address-dependent filtering (RFC 4787 section 5): one record of 16 bytes for each (external
// endpoint, remote address, protocol) counts the sessions that grant it. Networks with another filtering
// never touch these pages.
#pragma once

#include <array>
#include <atomic>

#include "conntrack/flow_key.h"
#include "conntrack/hash.h"
#include "conntrack/tag_index.h"

namespace vmnat::conntrack {

class Permissions {
 public:
  Permissions(std::uint32_t capacity, FlowHash hash, Placement placement)
      : hash_(hash), index_(capacity, placement), grants_(capacity, placement) {}
  [[nodiscard]] bool reserved() const { return index_.reserved() && grants_.reserved(); }

  // For a session with this inbound key. False: no room; grants nothing then.
  bool grant(const FlowKey& inbound);
  void withdraw(const FlowKey& inbound);
  [[nodiscard]] bool is_granted(const FlowKey& inbound) const { return find(inbound) != TagIndex::kNothing; }
  [[nodiscard]] std::size_t memory_used() const { return index_.memory_used() + grants_.memory_used(); }
  [[nodiscard]] std::uint64_t size() const { return index_.size(); }
  // Any thread. The pages of index and records that are touched soon; none before the first grant.
  [[nodiscard]] std::array<Extent, 2> touched_soon() const {
    const std::uint32_t used = used_.load(std::memory_order_relaxed);
    if (used == 0) return {};
    return {index_.touched_soon(used), grants_.filling(used)};
  }

 private:
  struct Grant {
    std::uint64_t external_and_protocol;
    std::uint32_t remote_address;
    std::uint32_t sessions;  // when free: index of the next free grant
  };
  static_assert(sizeof(Grant) == 16);
  static constexpr std::uint32_t kNone = 0xffff'ffff;

  // The inbound key without the remote port, as (external endpoint and protocol, remote address).
  static FlowKey grouped(const FlowKey& inbound) {
    return {inbound.local | (inbound.remote >> 48 & 0xff) << 48, inbound.remote & 0xffff'ffff};
  }
  [[nodiscard]] TagIndex::Place place(const FlowKey& group) const { return index_.place_of(hash_(group)); }
  [[nodiscard]] std::uint32_t find(const FlowKey& inbound) const;

  FlowHash hash_;
  TagIndex index_;
  ReservedArray<Grant> grants_;
  std::atomic<std::uint32_t> used_{0};  // grants below it have been used
  std::uint32_t first_free_ = kNone;
};

}  // namespace vmnat::conntrack
