// SPDX-License-Identifier: Apache-2.0
// The permutation behind FlowPlan, and the checks over all learned flows.
#include "bench/generator/flows.h"

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <utility>

namespace vmnat::bench {
namespace {

constexpr std::uint32_t kLowestPort = 1024;
constexpr std::uint32_t kPorts = 65536 - kLowestPort;

std::uint64_t avalanche(std::uint64_t value) {  // splitmix64's finaliser
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

std::uint64_t address_count(const net::Ipv4Prefix& prefix) {
  return std::uint64_t{1} << (32 - prefix.length);
}

net::L4Port port_at(std::uint64_t index) {
  return net::L4Port::from_host(static_cast<std::uint16_t>(kLowestPort + index));
}

const FlowSpace& checked(const FlowSpace& space) {
  const std::uint64_t addresses = address_count(space.network);
  if (addresses < 4 || space.hosts == 0 || space.hosts > addresses - 3)
    throw std::invalid_argument("the network does not hold that many hosts beside its gateway");
  if (space.vm_ports == 0 || space.vm_ports > space.hosts)
    throw std::invalid_argument("fewer hosts than VM ports");
  if (space.endpoints == 0 || space.endpoints > std::uint64_t{space.hosts} * kPorts)
    throw std::invalid_argument("more internal endpoints than hosts x 64512 ports");
  if (space.network.overlaps(space.remotes))
    throw std::invalid_argument("remote addresses lie inside the network");
  return space;
}

}  // namespace

Permutation::Permutation(std::uint64_t size, std::uint64_t seed)
    : size_(size), seed_(seed), half_bits_(static_cast<unsigned>((std::bit_width(size - 1) + 1) / 2)) {
  if (half_bits_ == 0) half_bits_ = 1;
}

std::uint64_t Permutation::mixed(std::uint64_t value) const {
  const std::uint64_t half_mask = (std::uint64_t{1} << half_bits_) - 1;
  std::uint64_t left = value >> half_bits_;
  std::uint64_t right = value & half_mask;
  for (std::uint64_t round = 1; round <= 4; ++round) {
    const std::uint64_t next =
        left ^ (avalanche(right + seed_ * 0x9e3779b97f4a7c15 + (round << 56)) & half_mask);
    left = right;
    right = next;
  }
  return left << half_bits_ | right;
}

std::uint64_t Permutation::at(std::uint64_t index) const {
  std::uint64_t value = mixed(index);
  while (value >= size_) value = mixed(value);  // at most four values in a cycle lie outside on average
  return value;
}

FlowPlan::FlowPlan(const FlowSpace& space)
    : space_(checked(space)),
      endpoint_order_(std::uint64_t{space.hosts} * kPorts, space.seed),
      remote_order_(address_count(space.remotes) * kPorts, space.seed + 1) {}

net::Ipv4Addr FlowPlan::host(std::uint32_t index) const {
  const std::uint32_t candidate = space_.network.first().host() + 1 + index;
  const bool at_or_after_gateway = candidate >= space_.network.address.host();
  return net::Ipv4Addr::from_host(candidate + (at_or_after_gateway ? 1 : 0));
}

net::Endpoint FlowPlan::internal(FlowNumber flow) const {
  const std::uint64_t at = endpoint_index(flow);
  return {host(static_cast<std::uint32_t>(at / kPorts)), port_at(at % kPorts)};
}

std::uint32_t FlowPlan::host_index(FlowNumber flow) const {
  return static_cast<std::uint32_t>(endpoint_index(flow) / kPorts);
}

bool FlowPlan::lives_at(net::Ipv4Addr address, unsigned vm_port) const {
  const net::Ipv4Addr gateway = space_.network.address;
  if (!space_.network.is_host(address) || address == gateway) return false;
  const std::uint32_t index = address.host() - space_.network.first().host() - (address > gateway ? 2 : 1);
  return index % space_.vm_ports == vm_port;
}

net::Endpoint FlowPlan::remote(FlowNumber flow) const {
  const std::uint64_t at = remote_order_.at(flow);
  const auto offset = static_cast<std::uint32_t>(at / kPorts);
  return {net::Ipv4Addr::from_host(space_.remotes.first().host() + offset), port_at(at % kPorts)};
}

void FlowTable::reserve_flows(FlowNumber count) {
  if (count <= size()) return;
  external_.resize(count);
  returned_.resize(count);
}

bool FlowTable::record_external(FlowNumber flow, net::Endpoint external) {
  if (is_learned(flow)) return external_[flow] == external;
  external_[flow] = external;
  return true;
}

FlowNumber FlowTable::count_shared_tuples(const FlowPlan& plan) const {
  std::vector<std::pair<net::Endpoint, net::Endpoint>> tuples;
  tuples.reserve(size());
  for (FlowNumber flow = 0; flow < size(); ++flow)
    if (is_learned(flow)) tuples.emplace_back(external_[flow], plan.remote(flow));
  std::sort(tuples.begin(), tuples.end());
  FlowNumber shared = 0;
  for (std::size_t i = 1; i < tuples.size(); ++i) shared += tuples[i] == tuples[i - 1] ? 1 : 0;
  return shared;
}

FlowNumber FlowTable::count_dependent_mappings(std::uint32_t endpoints) const {
  std::vector<bool> differs(std::min<std::size_t>(endpoints, size()));
  for (FlowNumber flow = endpoints; flow < size(); ++flow) {
    const FlowNumber first = flow % endpoints;
    if (is_learned(flow) && is_learned(first) && external_[flow] != external_[first]) differs[first] = true;
  }
  return static_cast<FlowNumber>(std::count(differs.begin(), differs.end(), true));
}

}  // namespace vmnat::bench
