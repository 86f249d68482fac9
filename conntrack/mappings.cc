// SPDX-License-Identifier: Apache-2.0
// Binding internal endpoints to external ports, and counting who uses them.
#include "conntrack/mappings.h"

namespace vmnat::conntrack {
namespace {

constexpr unsigned kCountShift = 48;
constexpr std::uint64_t kOneSession = std::uint64_t{1} << kCountShift;
constexpr std::uint64_t kCountMask = std::uint64_t{0x7fff} << kCountShift;
constexpr std::uint64_t kMore = std::uint64_t{1} << 63;
constexpr std::size_t kPorts = 65536;

}  // namespace

Mappings::Mappings(unsigned external_addresses, std::uint64_t capacity, FlowHash hash, Placement placement)
    : slots_of_a_space_(static_cast<std::uint32_t>(external_addresses * kPorts)),
      hash_(hash),
      index_(capacity, placement),
      slots_(external_addresses * kPortSpaces * kPorts, placement),
      more_sessions_(external_addresses * kPortSpaces * kPorts),
      page_size_(placement.page_size()) {}

std::optional<net::Endpoint> Mappings::internal_of(Slot slot) const {
  const std::uint64_t internal = slots_[number(slot)] & FlowKey::kLocalMask;
  if (internal == 0) return std::nullopt;
  return FlowKey::unpack(internal);
}

std::uint32_t Mappings::sessions(Slot slot) const {
  const std::uint32_t at = number(slot);
  const auto low = static_cast<std::uint32_t>((slots_[at] & kCountMask) >> kCountShift);
  return slots_[at] & kMore ? low + (more_sessions_[at] << 15) : low;
}

// Each protocol's slots by itself: pages of one that is not used stay untouched. A port used has touched a
// page anywhere itself: as many again are no more than twice what it would be.
std::array<Extent, 1 + kPortSpaces> Mappings::touched_soon(
    unsigned addresses, const std::array<std::uint64_t, kPortSpaces>& ports_used) const {
  constexpr std::size_t kFromStart = 8u << 20;  // all slots of 16 addresses
  std::array<Extent, 1 + kPortSpaces> extents;
  std::uint64_t used = 0;
  for (unsigned space = 0; space < kPortSpaces; ++space) {
    extents[1 + space] = slots_.part(std::size_t{space} * slots_of_a_space_, addresses * kPorts,
                                     kFromStart + ports_used[space] * page_size_);
    used += ports_used[space];
  }
  extents[0] = index_.touched_soon(used);
  return extents;
}

bool Mappings::bind(Slot slot, net::Endpoint internal) {
  if (!index_.insert(place(internal, slot.space), number(slot))) return false;
  slots_[number(slot)] |= FlowKey::pack(internal);
  return true;
}

void Mappings::unbind(Slot slot) {
  if (const auto internal = internal_of(slot)) index_.erase(place(*internal, slot.space), number(slot));
  slots_[number(slot)] &= ~FlowKey::kLocalMask;
}

void Mappings::add_session(Slot slot) {
  std::uint64_t& word = slots_[number(slot)];
  if ((word & kCountMask) != kCountMask) {
    word += kOneSession;
    return;
  }
  ++more_sessions_[number(slot)];
  word = (word & ~kCountMask) | kMore;
}

bool Mappings::remove_session(Slot slot) {
  const std::uint32_t at = number(slot);
  std::uint64_t& word = slots_[at];
  if ((word & kCountMask) != 0) {
    word -= kOneSession;
  } else {
    word |= kCountMask;
    if (--more_sessions_[at] == 0) word &= ~kMore;
  }
  if ((word & (kCountMask | kMore)) != 0) return false;
  unbind(slot);
  word = 0;
  return true;
}

std::optional<std::uint64_t> Mappings::used_slots_if_consistent(unsigned addresses) const {
  std::uint64_t used = 0;
  std::uint64_t bound = 0;
  const auto is_found = [&](Slot slot, net::Endpoint internal) {
    const auto is_it = [&](Slot candidate) { return number(candidate) == number(slot); };
    return sessions(slot) != 0 && find(internal, slot.space, is_it);
  };
  for (unsigned space = 0; space < kPortSpaces; ++space) {
    const std::size_t first = std::size_t{space} * slots_of_a_space_;
    for (std::size_t at = first; at < first + addresses * kPorts; ++at) {
      if (slots_[at] == 0) continue;
      const Slot slot = named(static_cast<std::uint32_t>(at));
      used += sessions(slot) != 0;
      const auto internal = internal_of(slot);
      if (!internal) continue;
      ++bound;
      if (!is_found(slot, *internal)) return std::nullopt;
    }
  }
  if (bound != index_.size() || !index_.check_invariants()) return std::nullopt;
  return used;
}

}  // namespace vmnat::conntrack
