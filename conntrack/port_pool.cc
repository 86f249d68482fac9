// SPDX-License-Identifier: Apache-2.0
// Choosing and freeing external ports: bit scans over blocks, then over the 64 ports of one. VMs' own blocks:
// port_pool_vm_blocks.cc.
#include "conntrack/port_pool.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace vmnat::conntrack {
namespace {

constexpr int kBlocksToChooseFrom = 16;
constexpr unsigned kBlocksTried = 4;  // new blocks for one port; what rests there may leave none open

constexpr std::uint64_t bit(unsigned i) {
  return std::uint64_t{1} << (i % 64);
}

constexpr BlockSet kAllBlocks = [] {
  BlockSet all;
  all.fill(~std::uint64_t{0});
  return all;
}();

// A random block that is in both sets.
std::optional<unsigned> random_block(const BlockSet& set, const BlockSet& among, std::uint64_t random) {
  for (unsigned i = 0; i < kBlockWords; ++i) {
    const unsigned word = static_cast<unsigned>((random >> 32) + i) % kBlockWords;
    if (const std::uint64_t both = set[word] & among[word]; both != 0)
      return word * 64 + PortPool::random_bit(both, random);
  }
  return std::nullopt;
}

void put(BlockSet& set, unsigned block, bool in) {
  set[block / 64] = in ? set[block / 64] | bit(block) : set[block / 64] & ~bit(block);
}

}  // namespace

PortPool::PortPool(ExternalPorts& ports, const ExternalAddresses& addresses, WorkerIndex worker,
                   std::uint64_t seed)
    : ports_(ports),
      addresses_(&addresses),
      worker_(worker),
      home_(ports.home_of(worker)),
      random_(seed),
      held_(ports.capacity()),
      spaces_(std::size_t{ports.capacity()} * kPortSpaces) {
  if (reserved()) hold_one_each();
}

void PortPool::hold_one_each() {
  for (unsigned i = 0; i < addresses_->size(); ++i)
    if (addresses_->ports(i) != nullptr && held_[i].count == 0) hold_another(static_cast<ExternalIndex>(i));
}

void PortPool::let_go() {
  for (unsigned i = 0; i < addresses_->size(); ++i)
    for (unsigned block = 0; block < kPortBlocks; ++block)
      if (is_held(static_cast<ExternalIndex>(i), block) && is_empty(static_cast<ExternalIndex>(i), block))
        give_back(static_cast<ExternalIndex>(i), block);
}

// The first one from a random position on.
unsigned PortPool::random_bit(std::uint64_t word, std::uint64_t random) {
  const auto turn = static_cast<int>(random % 64);
  return static_cast<unsigned>(std::countr_zero(std::rotr(word, turn)) + turn) % 64;
}

net::L4Port PortPool::random_port_of(unsigned block, std::uint64_t ports, std::uint64_t random) {
  return net::L4Port::from_host(static_cast<std::uint16_t>(block * kBlockPorts + random_bit(ports, random)));
}

std::optional<net::L4Port> PortPool::random_held(ExternalIndex external, std::uint64_t random) const {
  BlockSet anyones = held_[external].blocks;
  for (unsigned word = 0; word < kBlockWords; ++word) anyones[word] &= ~held_[external].of_vms[word];
  const auto block = random_block(anyones, addresses_->ports(external)->blocks(), random);
  if (!block) return std::nullopt;
  return random_port_of(*block, addresses_->allowed(external, *block), random >> 8);
}

std::uint64_t PortPool::free_in(ExternalIndex external, PortSpace space, unsigned block) const {
  return addresses_->allowed(external, block) & ~std::as_const(ports_).block(external, space, block).used;
}

// Brings the sets up to date after one of the block's words has changed.
void PortPool::note_block(ExternalIndex external, PortSpace space, unsigned block) {
  const PortBlock& words = ports_.block(external, space, block);
  const std::uint64_t free = free_in(external, space, block);
  const bool is_of_vm = this->is_of_vm(external, block);
  const bool has_open = (free & ~(words.resting | words.rested)) != 0;
  const bool has_resting = (free & (words.resting | words.rested)) != 0;
  Space& sets = space_of(external, space);
  put(sets.open, block, has_open && !is_of_vm);
  put(sets.resting, block, has_resting && !is_of_vm);
  put(sets.vms_open, block, has_open && is_of_vm);
  put(sets.vms_resting, block, has_resting && is_of_vm);
}

// Words are brought to the current period when they are looked at.
PortBlock& PortPool::current_block(ExternalIndex external, PortSpace space, unsigned block,
                                   std::uint64_t period) {
  PortBlock& words = ports_.block(external, space, block);
  if (words.period == period) return words;
  words.rested = words.period + 1 == period ? words.resting : 0;
  words.resting = 0;
  words.period = period;
  note_block(external, space, block);
  return words;
}

void PortPool::hold(ExternalIndex external, unsigned block) {
  put(held_[external].blocks, block, true);
  ++held_[external].count;
  for (unsigned space = 0; space < kPortSpaces; ++space)
    note_block(external, static_cast<PortSpace>(space), block);
}

// A block that nobody holds and that has a port to give: preferably one that is at home.
bool PortPool::hold_another(ExternalIndex external) {
  const std::uint64_t salt = random_.next();
  auto block = ports_.assign_among(blocks_at_home(external), external, worker_, salt);
  if (!block) block = ports_.assign_among(addresses_->ports(external)->blocks(), external, worker_, salt);
  if (block) hold(external, *block);
  return block.has_value();
}

BlockSet PortPool::blocks_at_home(ExternalIndex external) const {
  BlockSet blocks = addresses_->ports(external)->blocks();
  for (unsigned word = 0; word < kBlockWords; ++word) blocks[word] &= home_[word];
  return blocks;
}

// Preserved and random ports are spread over many blocks. So beyond its fair share of the blocks a worker
// takes more only when it needs them.
bool PortPool::has_less_than_its_share(ExternalIndex external) const {
  return held_[external].count * ports_.worker_count() < addresses_->ports(external)->block_count();
}

// One more block, while there are few to choose from. Blocks that are held ahead are out of reach for other
// workers: so there are fewer of them where there are other workers, and only those at home.
void PortPool::hold_ahead(ExternalIndex external, PortSpace space) {
  const BlockSet& open = space_of(external, space).open;
  int count = 0;
  for (unsigned word = 0; word < kBlockWords; ++word) count += std::popcount(open[word] & home_[word]);
  const int wanted = ports_.worker_count() == 1 ? kBlocksToChooseFrom : kBlocksToChooseFrom / 4;
  if (count >= wanted || !has_less_than_its_share(external)) return;
  const BlockSet blocks = blocks_at_home(external);
  if (const auto block = ports_.assign_among(blocks, external, worker_, random_.next()))
    hold(external, *block);
}

// Whether a block may be assigned to this worker for just this port: not when another worker is its home, or
// when the port is not to be had.
bool PortPool::may_hold_for(ExternalIndex external, net::L4Port wanted) const {
  const unsigned block = wanted.host() / kBlockPorts;
  return !is_held(external, block) && (home_[block / 64] & bit(block)) != 0 &&
         addresses_->is_allowed(external, wanted) && has_less_than_its_share(external);
}

bool PortPool::preserve(ExternalIndex external, PortSpace space, net::L4Port wanted, std::uint64_t period) {
  const unsigned block = wanted.host() / kBlockPorts;
  if (!is_held(external, block)) {
    if (!may_hold_for(external, wanted) || !ports_.assign(external, block, worker_)) return false;
    hold(external, block);
  }
  if (is_of_vm(external, block)) return false;
  const PortBlock& words = current_block(external, space, block, period);
  const std::uint64_t free = free_in(external, space, block) & ~(words.resting | words.rested);
  if ((free & bit(wanted.host())) == 0) return false;
  mark_used(external, space, wanted.host());
  return true;
}

void PortPool::mark_used(ExternalIndex external, PortSpace space, unsigned port) {
  PortBlock& words = ports_.block(external, space, port / kBlockPorts);
  words.used |= bit(port);
  words.resting &= ~bit(port);
  words.rested &= ~bit(port);
  note_block(external, space, port / kBlockPorts);
  space_of(external, space).used.add(1);
}

// Free, perhaps resting, in a held block of nobody's.
bool PortPool::is_free(ExternalIndex external, PortSpace space, net::L4Port port) const {
  const unsigned block = port.host() / kBlockPorts;
  return is_anyones(external, block) && (free_in(external, space, block) & bit(port.host())) != 0;
}

// Free and no longer resting, in a held block of nobody's.
bool PortPool::is_open(ExternalIndex external, PortSpace space, net::L4Port port) const {
  const unsigned block = port.host() / kBlockPorts;
  if (!is_anyones(external, block)) return false;
  const PortBlock& words = std::as_const(ports_).block(external, space, block);
  return (free_in(external, space, block) & ~(words.resting | words.rested) & bit(port.host())) != 0;
}

std::optional<net::L4Port> PortPool::find_open(ExternalIndex external, PortSpace space) {
  const BlockSet& open = space_of(external, space).open;
  const std::uint64_t random = random_.next();
  auto block = random_block(open, home_, random);
  if (!block) block = random_block(open, kAllBlocks, random);
  if (!block) return std::nullopt;
  const PortBlock& words = ports_.block(external, space, *block);
  const std::uint64_t free = free_in(external, space, *block) & ~(words.resting | words.rested);
  return random_port_of(*block, free, random_.next());
}

std::optional<net::L4Port> PortPool::random_open(ExternalIndex external, PortSpace space) {
  const auto port = find_open(external, space);
  if (port) mark_used(external, space, port->host());
  return port;
}

std::optional<net::L4Port> PortPool::probable(ExternalIndex external, PortSpace space, net::L4Port internal) {
  if (may_hold_for(external, internal) || is_open(external, space, internal)) return internal;
  hold_ahead(external, space);
  const auto port = find_open(external, space);
  return port ? port : find_resting(external, space);
}

// Ports that have rested longest go first.
std::optional<net::L4Port> PortPool::find_resting(ExternalIndex external, PortSpace space) {
  const auto block = random_block(space_of(external, space).resting, kAllBlocks, random_.next());
  if (!block) return std::nullopt;
  const PortBlock& words = ports_.block(external, space, *block);
  const std::uint64_t free = free_in(external, space, *block);
  const std::uint64_t older = free & words.rested;
  return random_port_of(*block, older != 0 ? older : free, random_.next());
}

// Once in a period, and for at most 1024 blocks: those whose ports have rested are open again.
void PortPool::end_rest(ExternalIndex external, PortSpace space, std::uint64_t period) {
  Space& sets = space_of(external, space);
  if (sets.period == period) return;
  sets.period = period;
  for (unsigned word = 0; word < kBlockWords; ++word) {
    for (std::uint64_t left = sets.resting[word] | sets.vms_resting[word]; left != 0; left &= left - 1) {
      const unsigned block = word * 64 + static_cast<unsigned>(std::countr_zero(left));
      current_block(external, space, block, period);
    }
  }
}

std::optional<net::L4Port> PortPool::allocate(ExternalIndex external, PortSpace space, Wish wish, Time now) {
  const std::uint64_t period = rest_period(now);
  if (preserve(external, space, wish.internal, period)) return wish.internal;
  if (is_open(external, space, wish.probable)) {
    mark_used(external, space, wish.probable.host());
    return wish.probable;
  }
  hold_ahead(external, space);
  if (const auto port = random_open(external, space)) return port;
  end_rest(external, space, period);
  for (unsigned i = 0; i < kBlocksTried; ++i) {
    if (const auto port = random_open(external, space)) return port;
    if (!hold_another(external)) break;
  }
  if (const auto port = random_open(external, space)) return port;
  auto port = std::optional(wish.probable);
  if (!is_free(external, space, wish.probable)) port = find_resting(external, space);
  if (port) mark_used(external, space, port->host());
  return port;
}

bool PortPool::take(ExternalIndex external, PortSpace space, net::L4Port port) {
  return addresses_->is_allowed(external, port) && !is_of_vm(external, port.host() / kBlockPorts) &&
         take_again(external, space, port);
}

bool PortPool::take_again(ExternalIndex external, PortSpace space, net::L4Port port) {
  const unsigned block = port.host() / kBlockPorts;
  if (!is_held(external, block)) {
    if (!ports_.assign(external, block, worker_)) return false;
    hold(external, block);
  }
  if (is_used(external, space, port)) return false;
  mark_used(external, space, port.host());
  return true;
}

void PortPool::release(ExternalIndex external, PortSpace space, net::L4Port port, Time now) {
  const unsigned block = port.host() / kBlockPorts;
  if (!is_held(external, block) || !is_used(external, space, port)) return;  // a forward's: never given
  PortBlock& words = current_block(external, space, block, rest_period(now));
  words.used &= ~bit(port.host());
  words.resting |= bit(port.host());
  note_block(external, space, block);
  space_of(external, space).used.subtract(1);
  const bool is_wanted = ports_.worker_count() > 1 || addresses_->allowed(external, block) == 0;
  if (words.used == 0 && is_wanted && !is_of_vm(external, block)) give_back_if_empty(external, block);
}

bool PortPool::is_used(ExternalIndex external, PortSpace space, net::L4Port port) const {
  const PortBlock& words = std::as_const(ports_).block(external, space, port.host() / kBlockPorts);
  return (words.used & bit(port.host())) != 0;
}

// One that has ports to give is kept: a worker without any could not even overload.
void PortPool::give_back_if_empty(ExternalIndex external, unsigned block) {
  if (held_[external].count == 1 && addresses_->allowed(external, block) != 0) return;
  if (is_empty(external, block)) give_back(external, block);
}

bool PortPool::is_empty(ExternalIndex external, unsigned block) const {
  for (unsigned space = 0; space < kPortSpaces; ++space)
    if (std::as_const(ports_).block(external, static_cast<PortSpace>(space), block).used != 0) return false;
  return true;
}

void PortPool::give_back(ExternalIndex external, unsigned block) {
  for (unsigned space = 0; space < kPortSpaces; ++space) {
    Space& sets = space_of(external, static_cast<PortSpace>(space));
    for (BlockSet* set : {&sets.open, &sets.resting, &sets.vms_open, &sets.vms_resting})
      put(*set, block, false);
  }
  put(held_[external].blocks, block, false);
  put(held_[external].of_vms, block, false);
  --held_[external].count;
  ports_.give_back(external, block);
}

void PortPool::follow(const ExternalAddresses& addresses) {
  const ExternalAddresses& former = *std::exchange(addresses_, &addresses);
  const unsigned count = std::max(former.size(), addresses.size());
  for (unsigned i = 0; i < count; ++i) {
    const auto external = static_cast<ExternalIndex>(i);
    const AllowedPorts* before = former.ports(i);
    const AllowedPorts* now = addresses.ports(i);
    const bool is_same_address = former.address(i) == addresses.address(i);
    if (before == now && is_same_address) continue;
    if (before != nullptr && now != nullptr && is_same_address) {
      follow_ports(external, *before, *now);
      continue;
    }
    if (before != nullptr) leave(external);
    if (now != nullptr) hold_another(external);
  }
}

// Only blocks that differ are looked at: a forward that comes or goes changes one of each address.
void PortPool::follow_ports(ExternalIndex external, const AllowedPorts& before, const AllowedPorts& now) {
  for (unsigned word = 0; word < kBlockWords; ++word) {
    for (std::uint64_t left = held_[external].blocks[word]; left != 0; left &= left - 1) {
      const unsigned block = word * 64 + static_cast<unsigned>(std::countr_zero(left));
      if (before.in(block) == now.in(block)) continue;
      for (unsigned space = 0; space < kPortSpaces; ++space)
        note_block(external, static_cast<PortSpace>(space), block);
      if (now.in(block) == 0 && !is_of_vm(external, block)) give_back_if_empty(external, block);
    }
  }
  if (held_[external].count == 0) hold_another(external);
}

// Nothing of the address is in use any more. Another one may have the index: its ports have not rested.
void PortPool::leave(ExternalIndex external) {
  for (unsigned word = 0; word < kBlockWords; ++word) {
    for (std::uint64_t left = held_[external].blocks[word]; left != 0; left &= left - 1) {
      const unsigned block = word * 64 + static_cast<unsigned>(std::countr_zero(left));
      for (unsigned space = 0; space < kPortSpaces; ++space)
        ports_.block(external, static_cast<PortSpace>(space), block) = {};
      give_back(external, block);
    }
  }
}

bool PortPool::check_invariants() const {
  for (unsigned external = 0; external < ports_.capacity(); ++external)
    for (unsigned space = 0; space < kPortSpaces; ++space)
      if (!check_invariants(static_cast<ExternalIndex>(external), static_cast<PortSpace>(space)))
        return false;
  return true;
}

bool PortPool::check_invariants(ExternalIndex external, PortSpace space) const {
  std::uint32_t used = 0;
  if (addresses_->ports(external) == nullptr)
    return held_[external].count == 0 && this->used(external, space) == 0;
  for (unsigned block = 0; block < kPortBlocks; ++block) {
    if (!is_held(external, block)) continue;
    const PortBlock& words = std::as_const(ports_).block(external, space, block);
    used += static_cast<std::uint32_t>(std::popcount(words.used));
    const Space& sets = space_of(external, space);
    const bool open = sets.open[block / 64] & bit(block), vms_open = sets.vms_open[block / 64] & bit(block);
    const bool is_open = (free_in(external, space, block) & ~(words.resting | words.rested)) != 0;
    if (open != (is_open && !is_of_vm(external, block)) || vms_open != (is_open && is_of_vm(external, block)))
      return false;
  }
  return used == this->used(external, space);
}

}  // namespace vmnat::conntrack
