// SPDX-License-Identifier: Apache-2.0
// What other threads may ask, and the invariants.
#include <algorithm>
#include <vector>

#include "conntrack/conntrack.h"

namespace vmnat::conntrack {

Statistics Conntrack::statistics() const {
  return {.active = counters_.active.get(),
          .created = counters_.created.get(),
          .restored = counters_.restored.get(),
          .expired = counters_.expired.get(),
          .erased = counters_.erased.get(),
          .early_dropped = counters_.early_dropped.get(),
          .disbelieved = counters_.disbelieved.get(),
          .overloaded = counters_.overloaded.get(),
          .mappings = counters_.mappings.get()};
}

std::size_t Conntrack::memory_used() const {
  return sessions_.memory_used() + sessions_at_.memory_used() + index_.memory_used() +
         mappings_.memory_used() + pool_.memory_used() + blocks_.memory_used() + planes_.memory_used() +
         permissions_.memory_used() + vm_ports_.memory_used() + timeouts_.memory_used();
}

std::array<Extent, Conntrack::kExtents> Conntrack::touched_soon() const {
  constexpr unsigned kLookedAt = 64;  // internal addresses are spread by a hash: these speak for all
  const std::uint32_t used = high_water_.load(std::memory_order_relaxed);
  std::array<std::uint64_t, kPortSpaces> ports_used{};
  const unsigned addresses = address_count_.load(std::memory_order_relaxed);
  for (unsigned external = 0; external < std::min(addresses, kLookedAt); ++external) {
    for (unsigned space = 0; space < kPortSpaces; ++space)
      ports_used[space] +=
          this->ports_used(static_cast<ExternalIndex>(external), static_cast<PortSpace>(space));
  }
  const auto [mapping_index, tcp, udp, icmp] = mappings_.touched_soon(addresses, ports_used);
  const auto [permission_index, grants] = permissions_.touched_soon();
  return {sessions_.filling(used),
          index_.touched_soon(std::uint64_t{used} * 2),
          mapping_index,
          tcp,
          udp,
          icmp,
          permission_index,
          grants};
}

std::size_t Conntrack::snapshot(std::uint32_t& cursor, std::span<SessionView> out) const {
  const std::uint32_t end = high_water_.load(std::memory_order_acquire);  // pairs with take_record()
  std::size_t taken = 0;
  for (; cursor < end && taken < out.size(); ++cursor) {
    const Session copy = sessions_[cursor].copied();
    if (copy.in_use()) out[taken++] = view(copy);
  }
  return taken;
}

// The pool's blocks that are a VM's are those of the VMs' blocks.
bool Conntrack::are_blocks_consistent() const {
  for (unsigned i = 0; i < addresses_->size(); ++i) {
    const auto external = static_cast<ExternalIndex>(i);
    unsigned covered = 0, of_vms = 0;
    for (unsigned first = 0; first < kPortBlocks; ++first) {
      const auto block = blocks_.block_at(external, first);
      if (!block) continue;
      if (first < covered || first % block->count != 0) return false;
      covered = first + block->count;
      for (unsigned at = first; at < covered; ++at)
        if (!pool_.is_of_vm(external, at) || !pool_.is_held(external, at)) return false;
      of_vms += block->count;
    }
    pool_.for_each_of_vm(external, [&](unsigned) { --of_vms; });
    if (of_vms != 0) return false;
  }
  return true;
}

bool Conntrack::check_invariants(std::string* why) const {
  const auto fails = [&](const char* what) {
    if (why != nullptr) *why = what;
    return false;
  };
  const std::uint32_t end = high_water_.load(std::memory_order_relaxed);
  std::uint64_t active = 0;
  std::vector<std::uint64_t> by_address(addresses_->size());
  std::vector<std::array<std::uint32_t, 2>> by_port(vm_port_count_);
  for (std::uint32_t record = 0; record < end; ++record) {
    const Session& session = sessions_[record];
    if (!session.in_use()) continue;
    ++active;
    const auto external = addresses_->index_of(session.external().address);
    if (!external && !session.is_untranslated()) return fails("a session's address is not ours");
    if (external) ++by_address[*external];
    ++by_port[session.vm_port()][static_cast<unsigned>(session.opener())];
    const auto is_it = [&](std::uint32_t value) { return value == record; };
    for (const FlowKey& key : {session.outbound_key(), session.inbound_key()}) {
      if (index_.find(place(key), is_it) == TagIndex::kNothing) return fails("a session is not in the index");
      if (const_cast<Conntrack*>(this)->find(key) != &session) return fails("two sessions have one key");
    }
  }
  std::uint64_t free_records = 0;
  for (std::uint32_t record = first_free_; record != kNoRecord && free_records <= end; ++free_records)
    record = sessions_[record].next_free();
  if (active + free_records != end) return fails("a record is neither in use nor free");
  if (active != statistics().active) return fails("the count of sessions is wrong");
  for (unsigned external = 0; external < addresses_->size(); ++external)
    if (by_address[external] != sessions_at(static_cast<ExternalIndex>(external)))
      return fails("an address's count of sessions is wrong");
  std::uint64_t parts_taken = 0;
  for (PortIndex vm_port = 0; vm_port < vm_port_count_; ++vm_port) {
    if (sessions_of(vm_port, Direction::Outbound) != by_port[vm_port][0] ||
        sessions_of(vm_port, Direction::Inbound) != by_port[vm_port][1])
      return fails("a port's count of sessions is wrong");
    parts_taken += std::min(sessions_of(vm_port), part_);
  }
  if (parts_taken != parts_taken_) return fails("the parts that ports are sure of are miscounted");
  if (index_.size() != 2 * active || !index_.check_invariants())
    return fails("index entries != 2 x sessions");
  const auto slots = mappings_.used_slots_if_consistent(addresses_->size());
  if (!slots) return fails("a mapping is inconsistent");
  if (!are_blocks_consistent()) return fails("a block of ports is nobody's, or two VMs'");
  if (!pool_.check_invariants()) return fails("the port pool is inconsistent");
  std::uint64_t ports = 0;
  for (unsigned external = 0; external < addresses_->size(); ++external)
    for (unsigned space = 0; space < kPortSpaces; ++space)
      ports += ports_used(static_cast<ExternalIndex>(external), static_cast<PortSpace>(space));
  if (ports > *slots) return fails("a port is used and has no session");
  return true;
}

}  // namespace vmnat::conntrack
