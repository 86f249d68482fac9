// SPDX-License-Identifier: Apache-2.0
// Mappings: which internal endpoint has which external port, and how many sessions use that port.
//
// One slot of 8 bytes for each (external address, protocol, port). Inbound, a slot is found by its position;
// outbound, by a TagIndex over the internal endpoints:
//
//   slot  | internal address 32, port 16 | sessions 15, more 1 |
//
// `sessions` counts to 32767. With `more` set it is the low part of the count, whose high part stands in an
// array of its own.
//
// An endpoint-independent mapping (RFC 4787 REQ-1) is a slot with an internal endpoint: all sessions of that
// endpoint share the slot; where flows are sent to several pools, it has a slot in each. Sessions that overload the
// port or are endpoint-dependent are counted in the slot, too. The port is free again when the last session of any
// kind has gone. So a mapping outlives its own sessions while others overload its port. Slots without an internal
// endpoint are not in the index.
#pragma once

#include <array>
#include <optional>

#include "conntrack/external_ports.h"
#include "conntrack/hash.h"
#include "conntrack/tag_index.h"

namespace vmnat::conntrack {

class Mappings {
 public:
  struct Slot {  // names an external endpoint of one protocol
    ExternalIndex external;
    PortSpace space;
    net::L4Port port;
  };

  // `external_addresses`: room for so many.
  Mappings(unsigned external_addresses, std::uint64_t capacity, FlowHash hash, Placement placement);
  [[nodiscard]] bool reserved() const {
    return slots_.reserved() && more_sessions_.reserved() && index_.reserved();
  }

  [[nodiscard]] std::optional<Slot> find(net::Endpoint internal, PortSpace space) const {
    return find(internal, space, [](Slot) { return true; });
  }
  // Of an endpoint with several mappings, one in each pool: one that `serves(Slot)`.
  template <typename Serves>
  [[nodiscard]] std::optional<Slot> find(net::Endpoint internal, PortSpace space, Serves serves) const;
  void prefetch(net::Endpoint internal, PortSpace space) const { prefetch(place(internal, space)); }
  // Where the internal endpoint's mapping is, or would be.
  [[nodiscard]] TagIndex::Place place(net::Endpoint internal, PortSpace space) const {
    return index_.place_of(
        hash_({std::uint64_t{1} + static_cast<std::uint64_t>(space), FlowKey::pack(internal)}));
  }
  void prefetch(TagIndex::Place internal) const { index_.prefetch(internal.bucket); }
  void prefetch_room(TagIndex::Place internal) const { index_.prefetch_room(internal); }
  void prefetch(Slot slot) const { __builtin_prefetch(&slots_[number(slot)], 1); }
  // The endpoint's mapping, by its tag alone: another one's by chance (once in thousands).
  [[nodiscard]] std::optional<Slot> probable(TagIndex::Place internal) const {
    const std::uint32_t found = index_.find(internal, [](std::uint32_t) { return true; });
    if (found == TagIndex::kNothing) return std::nullopt;
    return named(found);
  }
  // The internal endpoint that the external one is mapped to, if it is.
  [[nodiscard]] std::optional<net::Endpoint> internal_of(Slot slot) const;
  [[nodiscard]] std::uint32_t sessions(Slot slot) const;

  // Binds a slot without an internal endpoint. False: the index is full.
  bool bind(Slot slot, net::Endpoint internal);
  // The internal endpoint has no mapping any more; the sessions at the slot stay.
  void unbind(Slot slot);
  void add_session(Slot slot);
  // True: that was the last one; the slot is unbound now and the port free.
  bool remove_session(Slot slot);

  [[nodiscard]] std::size_t memory_used() const {
    return index_.memory_used() + slots_.memory_used() + more_sessions_.memory_used();
  }
  // Any thread. With so many addresses, and so many ports of them used: the pages of the index and of each
  // protocol's slots that are touched soon.
  [[nodiscard]] std::array<Extent, 1 + kPortSpaces> touched_soon(
      unsigned addresses, const std::array<std::uint64_t, kPortSpaces>& ports_used) const;
  // Endpoint-independent mappings.
  [[nodiscard]] std::uint64_t size() const { return index_.size(); }
  // The number of slots of the first `addresses` in use; nothing unless exactly the bound slots are in the
  // index. O(ports); for tests and debugging.
  [[nodiscard]] std::optional<std::uint64_t> used_slots_if_consistent(unsigned addresses) const;

 private:
  // Protocol by protocol: the pages of one that is rarely used stay untouched.
  [[nodiscard]] std::uint32_t number(Slot slot) const {
    return static_cast<std::uint32_t>(slot.space) * slots_of_a_space_ + (std::uint32_t{slot.external} << 16) +
           slot.port.host();
  }
  [[nodiscard]] Slot named(std::uint32_t number) const {
    const unsigned space = unsigned{number >= slots_of_a_space_} + unsigned{number >= 2 * slots_of_a_space_};
    const std::uint32_t within = number - space * slots_of_a_space_;
    return {static_cast<ExternalIndex>(within >> 16), static_cast<PortSpace>(space),
            net::L4Port::from_host(static_cast<std::uint16_t>(within))};
  }

  std::uint32_t slots_of_a_space_;
  FlowHash hash_;
  TagIndex index_;
  ReservedArray<std::uint64_t> slots_;
  ReservedArray<std::uint32_t> more_sessions_;  // in units of 32768: touched by mappings that have so many
  std::size_t page_size_;                       // of the slots
};

template <typename Serves>
std::optional<Mappings::Slot> Mappings::find(net::Endpoint internal, PortSpace space, Serves serves) const {
  const std::uint64_t wanted = FlowKey::pack(internal);
  const std::uint32_t found = index_.find(place(internal, space), [&](std::uint32_t number) {
    return (slots_[number] & FlowKey::kLocalMask) == wanted && named(number).space == space &&
           serves(named(number));
  });
  if (found == TagIndex::kNothing) return std::nullopt;
  return named(found);
}

}  // namespace vmnat::conntrack
