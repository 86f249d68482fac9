// SPDX-License-Identifier: Apache-2.0
// Ports of blocks that VMs have (vm_blocks.h). A session that needs a new port gets, in this order:
//
//   1. the internal port itself, or else a random one, that is open in a block of its VM's, the newest first,
//   2. a port of its VM's that still rests: nobody else has had it (RFC 6888 REQ-8 B),
//   3. one of a block that its VM gets now.
//
// A block goes back when all of its ports have rested (REQ-8): its next owner is not taken for the former one.
#include <algorithm>

#include "conntrack/conntrack.h"

namespace vmnat::conntrack {
namespace {

constexpr unsigned kAddressesATurn = 64;  // that are looked through for blocks to return, once in 4 s

}  // namespace

bool Conntrack::take_port_of_block(const OutboundFlow& flow, unsigned policy_id, Time now, Choice& choice) {
  using enum PortPool::Resting;
  const NatPolicy& policy = policies_[policy_id];
  return take_port_of_own(flow, policy, No, now, choice) ||
         take_port_of_own(flow, policy, Too, now, choice) ||
         (take_block(flow, policy_id, now) && take_port_of_own(flow, policy, Too, now, choice));
}

// Of an address that drains, or that the network has no more, no port is given out.
bool Conntrack::may_give(const VmBlock& block, std::span<const ExternalIndex> pool) const {
  return std::ranges::find(pool, block.external) != pool.end() && !addresses_->is_draining(block.external);
}

bool Conntrack::take_port_of_own(const OutboundFlow& flow, const NatPolicy& policy, PortPool::Resting resting,
                                 Time now, Choice& choice) {
  const net::Endpoint internal = flow.key.local_endpoint();
  const PortSpace space = port_space(flow.key.protocol());
  return blocks_.find_of(internal.address, [&](const VmBlock& block) {
    if (!may_give(block, policy.pool(flow.pool))) return false;
    const auto port = pool_.allocate_of(block, space, {internal.port, flow.probable_port}, resting, now);
    if (!port) return false;
    choice.external = block.external;
    choice.port = *port;
    return true;
  });
}

// Of the newest block, where it has a port: to fetch memory for, no more. That port becomes the flow's.
ExternalIndex Conntrack::probable_of_block(OutboundFlow& flow, const NatPolicy& policy) {
  const net::Endpoint internal = flow.key.local_endpoint();
  const PortSpace space = port_space(flow.key.protocol());
  ExternalIndex external = 0;
  const bool has_block = blocks_.find_of(internal.address, [&](const VmBlock& block) {
    const auto port = pool_.probable_of(block, space, {internal.port}, PortPool::Resting::No, now_);
    external = block.external;
    flow.probable_port = port.value_or(internal.port);
    return true;
  });
  return has_block ? external : policy.addresses[paired(internal.address, policy.addresses.size())];
}

bool Conntrack::take_block(const OutboundFlow& flow, unsigned policy_id, Time now) {
  const NatPolicy& policy = policies_[policy_id];
  VmBlock block{.internal = flow.key.local_endpoint().address,
                .count = policy.block_ports / kBlockPorts,
                .vm_port = flow.vm_port,
                .policy = static_cast<std::uint16_t>(policy_id)};
  const auto external = first_address(policy.pool(flow.pool), block.internal, [&](ExternalIndex candidate) {
    const auto first = pool_.take_for_vm(candidate, block.count, now);
    block.first = first.value_or(0);
    return first.has_value();
  });
  if (!external) return false;
  block.external = *external;
  if (!blocks_.add(block)) {
    pool_.give_back(block);
    return false;
  }
  announce(EventKind::BlockGiven, block, now);
  return true;
}

// `visit(VmBlock)` of each that VMs have of the address; it may be returned.
template <typename Visitor>
void Conntrack::for_each_block(ExternalIndex external, Visitor visit) {
  pool_.for_each_of_vm(external, [&](unsigned first) {
    if (const auto block = blocks_.block_at(external, first)) visit(*block);
  });
}

// Once in a turn of the sweep.
void Conntrack::return_blocks(Time now) {
  const unsigned addresses = addresses_->size();
  for (unsigned looked = 0; looked < std::min(addresses, kAddressesATurn); ++looked) {
    blocks_looked_at_ = blocks_looked_at_ + 1 < addresses ? blocks_looked_at_ + 1 : 0;
    for_each_block(static_cast<ExternalIndex>(blocks_looked_at_), [&](const VmBlock& block) {
      if (pool_.has_rested(block, now)) return_block(block, now);
    });
  }
}

void Conntrack::return_block(const VmBlock& block, Time now) {
  blocks_.remove(block);
  pool_.give_back(block);
  announce(EventKind::BlockReturned, block, now);
}

// Before addresses go, or change: no session has them any more.
void Conntrack::leave_blocks(const ExternalAddresses& next) {
  for (unsigned i = 0; i < addresses_->size(); ++i) {
    if (addresses_->ports(i) == nullptr ||
        (next.ports(i) != nullptr && next.address(i) == addresses_->address(i)))
      continue;
    for_each_block(static_cast<ExternalIndex>(i), [&](const VmBlock& block) { return_block(block, now_); });
  }
}

// The session's VM had the block that its port is in, unless that is not to be had as a whole.
void Conntrack::revive_block(const Former& former, Mappings::Slot slot) {
  const unsigned count = policies_[former.policy].block_ports / kBlockPorts;
  if (count == 0 || former.is_forwarded) return;
  const unsigned first = slot.port.host() / kBlockPorts / count * count;
  if (pool_.is_of_vm(slot.external, slot.port.host() / kBlockPorts) ||
      !pool_.take_for_vm(slot.external, first, count))
    return;
  const VmBlock block{.internal = former.record.internal().address,
                      .external = slot.external,
                      .first = first,
                      .count = count,
                      .vm_port = former.vm_port,
                      .policy = former.policy};
  if (!blocks_.add(block)) pool_.give_back(block);
}

}  // namespace vmnat::conntrack
