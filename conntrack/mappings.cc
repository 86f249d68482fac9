// SPDX-License-Identifier: Apache-2.0
// Binding internal endpoints to external ports, and counting who uses them.
#include "conntrack/mappings.h"

namespace vmnat::conntrack {
namespace {

constexpr unsigned kCountShift = 48;
constexpr std::uint64_t kOneSession = std::uint64_t{1} << kCountShift;
constexpr std::size_t kPorts = 65536;

}  // namespace

Mappings::Mappings(unsigned external_addresses, std::uint64_t capacity, FlowHash hash)
    : hash_(hash),
      index_(capacity),
      slots_(external_addresses * kPortSpaces * kPorts),
      more_sessions_(external_addresses * kPortSpaces * kPorts) {}

std::optional<Mappings::Slot> Mappings::find(net::Endpoint internal, PortSpace space) const {
  const std::uint64_t wanted = FlowKey::pack(internal);
  const std::uint32_t found = index_.find(place(internal, space), [&](std::uint32_t number) {
    return (slots_[number] & FlowKey::kLocalMask) == wanted && named(number).space == space;
  });
  if (found == TagIndex::kNothing) return std::nullopt;
  return named(found);
}

std::optional<net::Endpoint> Mappings::internal_of(Slot slot) const {
  const std::uint64_t internal = slots_[number(slot)] & FlowKey::kLocalMask;
  if (internal == 0) return std::nullopt;
  return FlowKey::unpack(internal);
}

std::uint32_t Mappings::sessions(Slot slot) const {
  const std::uint32_t at = number(slot);
  return static_cast<std::uint32_t>(slots_[at] >> kCountShift) | std::uint32_t{more_sessions_[at]} << 16;
}

bool Mappings::bind(Slot slot, net::Endpoint internal) {
  if (!index_.insert(place(internal, slot.space), number(slot))) return false;
  slots_[number(slot)] |= FlowKey::pack(internal);
  return true;
}

void Mappings::add_session(Slot slot) {
  const std::uint32_t at = number(slot);
  slots_[at] += kOneSession;
  if (slots_[at] < kOneSession) ++more_sessions_[at];
}

bool Mappings::remove_session(Slot slot) {
  const std::uint32_t at = number(slot);
  if (slots_[at] < kOneSession) --more_sessions_[at];
  slots_[at] -= kOneSession;
  if (slots_[at] >= kOneSession || more_sessions_[at] != 0) return false;
  if (const auto internal = internal_of(slot)) index_.erase(place(*internal, slot.space), at);
  slots_[at] = 0;
  return true;
}

std::optional<std::uint64_t> Mappings::used_slots_if_consistent() const {
  std::uint64_t used = 0;
  std::uint64_t bound = 0;
  for (std::size_t at = 0; at < slots_.size(); ++at) {
    const Slot slot = named(static_cast<std::uint32_t>(at));
    used += sessions(slot) != 0;
    const auto internal = internal_of(slot);
    if (!internal) continue;
    ++bound;
    const auto found = find(*internal, slot.space);
    if (sessions(slot) == 0 || !found || number(*found) != at) return std::nullopt;
  }
  if (bound != index_.size() || !index_.check_invariants()) return std::nullopt;
  return used;
}

}  // namespace vmnat::conntrack
