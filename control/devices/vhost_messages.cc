// SPDX-License-Identifier: Apache-2.0
#include "control/devices/vhost_messages.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <fcntl.h>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace vmnat::control {
namespace {

namespace virtio = dataplane::virtio;

// Payloads, as QEMU's docs/interop/vhost-user.rst has them.
struct RingState {
  std::uint32_t ring;
  std::uint32_t number;
};
struct RingAddresses {
  std::uint32_t ring;
  std::uint32_t flags;
  std::uint64_t descriptors, used, available, log;  // by the VMM's own addresses
};
struct MemoryTable {
  std::uint32_t regions;
  std::uint32_t padding;
};
struct MemoryRegion {
  std::uint64_t guest_address, bytes, user_address, offset;
};
struct LogBase {
  std::uint64_t bytes, offset;
};

constexpr std::uint32_t kLargestRing = 32768;
constexpr std::uint64_t kRingMask = 0xff;         // of a number that names a ring, and whether
constexpr std::uint64_t kNoDescriptor = 1u << 8;  // there is no descriptor with it

// What each part of a ring takes, and at what addresses it may start (virtio 1.1, 2.6 and 2.7).
struct RingShape {
  std::uint64_t descriptors, available, used;  // bytes
  std::uint64_t available_alignment, used_alignment;
};
RingShape shape_of(std::uint32_t size, std::uint64_t features) {
  if ((features & virtio::kPackedRing) != 0) return {16ull * size, 4, 4, 4, 4};
  const unsigned event = (features & virtio::kEventIndex) != 0 ? 2 : 0;
  return {16ull * size, 4 + 2ull * size + event, 4 + 8ull * size + event, 2, 4};
}

// The memory table, where there is one: librte_vhost's malloc.
struct FreeTable {
  void operator()(rte_vhost_memory* table) const { std::free(table); }  // NOLINT
};
std::unique_ptr<rte_vhost_memory, FreeTable> memory_table(int guest) {
  rte_vhost_memory* table = nullptr;
  rte_vhost_get_mem_table(guest, &table);
  return std::unique_ptr<rte_vhost_memory, FreeTable>(table);
}

// `start`: which of a region's addresses is meant.
template <typename Start>
bool is_within(const rte_vhost_memory& table, std::uint64_t address, std::uint64_t bytes, Start start) {
  return std::ranges::any_of(std::span(table.regions, table.nregions), [&](const auto& region) {
    const std::uint64_t offset = address - start(region);
    return offset < region.size && bytes <= region.size - offset;
  });
}

bool can_be_mapped(int descriptor, std::uint64_t bytes) {
  void* const mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (mapped == MAP_FAILED) return false;
  munmap(mapped, bytes);
  return true;
}

bool is_unix_stream(int descriptor) {
  const auto option = [descriptor](int name) {
    int value = -1;
    socklen_t length = sizeof value;
    return getsockopt(descriptor, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
  };
  return option(SO_DOMAIN) == AF_UNIX && option(SO_TYPE) == SOCK_STREAM;
}

// Interrupting the guest must not make a worker wait, and must not be a way to write to files or networks: eventfds,
// pipes, or stream sockets of this machine, of which user-mode-linux makes what it calls pipes.
bool make_callable(int descriptor) {
  std::array<char, 64> target{};
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  const ssize_t length = readlink(link.c_str(), target.data(), target.size());
  const std::string_view name(target.data(), length < 0 ? 0 : static_cast<std::size_t>(length));
  if (name != "anon_inode:[eventfd]" && !name.starts_with("pipe:[") && !is_unix_stream(descriptor))
    return false;
  const int flags = fcntl(descriptor, F_GETFL);
  return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) == 0;
}

// The ring that the message is about.
std::optional<std::uint64_t> ring_of(const VhostMessage& message) {
  switch (message.request) {
    case VhostRequest::SetVringKick:
    case VhostRequest::SetVringCall:
    case VhostRequest::SetVringErr:
      return message.payload_as<std::uint64_t>() & kRingMask;
    case VhostRequest::SetVringNum:
    case VhostRequest::SetVringBase:
    case VhostRequest::GetVringBase:
    case VhostRequest::SetVringEnable:
    case VhostRequest::SetVringAddr:
      return message.payload_as<std::uint32_t>();
    default:
      return std::nullopt;
  }
}

// What must be there of the payload; librte_vhost takes what is not from its stack.
std::uint32_t least_payload(VhostRequest request) {
  switch (request) {
    case VhostRequest::SetVringNum:
    case VhostRequest::SetVringBase:
    case VhostRequest::GetVringBase:
    case VhostRequest::SetVringEnable:
      return sizeof(RingState);
    case VhostRequest::SetVringAddr:
      return sizeof(RingAddresses);
    case VhostRequest::SetMemTable:
      return sizeof(MemoryTable) + sizeof(MemoryRegion);
    case VhostRequest::SetLogBase:
      return sizeof(LogBase);
    case VhostRequest::SendRarp:
      return sizeof(net::MacAddr);
    case VhostRequest::SetVringKick:
    case VhostRequest::SetVringCall:
    case VhostRequest::SetVringErr:
    case VhostRequest::NetSetMtu:
    case VhostRequest::SetFeatures:
      return sizeof(std::uint64_t);
    default:
      return 0;
  }
}

// Of dirty pages, for migration. librte_vhost maps it from the offset on, and then adds the offset again.
std::string_view refusal_of_log(const VhostMessage& message) {
  const auto log = message.payload_as<LogBase>();
  if (message.descriptor_count != 1 || log.offset != 0)
    return "the log of dirty pages has an offset, or no file";
  if (log.bytes == 0 || !can_be_mapped(message.descriptors[0], log.bytes))
    return "the log of dirty pages cannot be mapped";
  return {};
}

}  // namespace

std::string_view VhostConversation::refusal(const VhostMessage& message) const {
  if (message.size < least_payload(message.request)) return "the message is cut short";
  if (const auto ring = ring_of(message); ring && *ring >= rings_) return "the port has no such queue";
  switch (message.request) {
    case VhostRequest::SetMemTable:
      return refusal_of_memory(message);
    case VhostRequest::SetLogBase:
      return refusal_of_log(message);
    case VhostRequest::SetVringNum:
      return refusal_of_size(message);
    case VhostRequest::SetVringBase:
      return refusal_of_base(message);
    case VhostRequest::SetVringAddr:
      return refusal_of_addresses(message);
    case VhostRequest::SetVringCall:
      if ((message.payload_as<std::uint64_t>() & kNoDescriptor) == 0 && message.descriptor_count == 1 &&
          !make_callable(message.descriptors[0]))
        return "a call descriptor must be an eventfd, a pipe or a local stream socket";
      return {};
    case VhostRequest::GetQueueNum:
    case VhostRequest::ResetOwner:
    case VhostRequest::SendRarp:  // answered here: nobody else looks
      return message.descriptor_count == 0 ? std::string_view{} : "the message takes no descriptors";
    case VhostRequest::IotlbMsg:
    case VhostRequest::PostcopyAdvise:
    case VhostRequest::PostcopyListen:
    case VhostRequest::PostcopyEnd:
    case VhostRequest::GetInflightFd:
    case VhostRequest::SetInflightFd:
      return "the message belongs to a feature that was not offered";
    default:
      return {};
  }
}

// librte_vhost unmaps the old memory before it maps the new: what cannot be mapped is found before. A file
// that is shorter than the region is no reason: user-mode-linux has one such, and it may be cut at any time.
std::string_view VhostConversation::refusal_of_memory(const VhostMessage& message) const {
  const auto table = message.payload_as<MemoryTable>();
  if (table.regions == 0 || table.regions > VhostMessage::kMostDescriptors)
    return "no memory region, or too many";
  if (message.size < sizeof(MemoryTable) + table.regions * sizeof(MemoryRegion))
    return "the message is cut short";
  if (message.descriptor_count != static_cast<int>(table.regions)) return "not one file a memory region";
  std::uint64_t total = 0;
  for (unsigned i = 0; i < table.regions; ++i) {
    const auto region = message.payload_as<MemoryRegion>(sizeof(MemoryTable) + i * sizeof(MemoryRegion));
    if (region.bytes == 0 || region.bytes > kMostMemory || region.offset > kMostMemory)
      return "the size of a memory region cannot be";
    if (region.guest_address + region.bytes < region.bytes ||
        region.user_address + region.bytes < region.bytes)
      return "a memory region goes round the end of all addresses";
    total += region.bytes + region.offset;
    if (total > kMostMemory) return "more memory than a VM may have";
    if (!can_be_mapped(message.descriptors[i], region.bytes + region.offset))
      return "a memory region cannot be mapped";
  }
  return {};
}

// Not while the ring's addresses are in use: they were looked at for the size as it was.
std::string_view VhostConversation::refusal_of_size(const VhostMessage& message) const {
  const auto state = message.payload_as<RingState>();
  if (state.number == 0 || state.number > kLargestRing ||
      (!is_packed() && !std::has_single_bit(state.number)))
    return "no ring can be of that size";
  rte_vhost_vring vring{};
  if (rte_vhost_get_vhost_vring(guest_, static_cast<std::uint16_t>(state.ring), &vring) == 0 &&
      vring.desc != nullptr && vring.size != state.number)
    return "the size of a ring that is in use cannot change";
  return {};
}

// An index of a packed ring is a place in it; its highest bit is something else.
std::string_view VhostConversation::refusal_of_base(const VhostMessage& message) const {
  const auto state = message.payload_as<RingState>();
  rte_vhost_vring vring{};
  if (is_packed() && rte_vhost_get_vhost_vring(guest_, static_cast<std::uint16_t>(state.ring), &vring) == 0 &&
      vring.size != 0 && (state.number & 0x7fff) >= vring.size)
    return "an index beyond the ring";
  return {};
}

std::string_view VhostConversation::refusal_of_addresses(const VhostMessage& message) const {
  if (!has_memory_) return "ring addresses before there is memory";
  const auto at = message.payload_as<RingAddresses>();
  rte_vhost_vring vring{};
  rte_vhost_get_vhost_vring(guest_, static_cast<std::uint16_t>(at.ring), &vring);
  const RingShape shape = shape_of(vring.size, features());
  const auto table = memory_table(guest_);
  const auto is_there = [&](std::uint64_t address, std::uint64_t bytes) {
    return is_within(*table, address, bytes, [](const auto& region) { return region.guest_user_addr; });
  };
  if (table == nullptr || !is_there(at.descriptors, shape.descriptors) ||
      !is_there(at.available, shape.available) || !is_there(at.used, shape.used))
    return "a ring that is not in the guest's memory";
  return {};
}

bool VhostConversation::count(std::uint64_t second) {
  if (second != second_) messages_ = 0;
  second_ = second;
  return ++messages_ <= kMostMessages;
}

void VhostConversation::begin(const VhostMessage& message) {
  if (message.request == VhostRequest::SetMemTable) has_memory_ = false;
  if (message.request == VhostRequest::GetVringBase || message.request == VhostRequest::SetVringNum)
    prepared_[message.payload_as<std::uint32_t>()] = Prepared::No;
}

void VhostConversation::succeed(const VhostMessage& message) {
  if (message.request == VhostRequest::SetMemTable) has_memory_ = true;
  if (message.request == VhostRequest::SetVringNum)
    prepared_[message.payload_as<std::uint32_t>()] = is_packed() ? Prepared::Packed : Prepared::Split;
  if (message.request == VhostRequest::SetVringBase) {
    const auto state = message.payload_as<RingState>();
    told_places_[state.ring] = static_cast<std::uint16_t>(state.number);
  }
}

std::optional<std::uint16_t> VhostConversation::take_told_place(std::uint16_t ring) {
  return std::exchange(told_places_[ring], std::nullopt);
}

bool VhostConversation::is_sound(std::uint16_t ring) const {
  rte_vhost_vring vring{};
  std::uint16_t next_available = 0, next_used = 0;
  if (!has_memory_ || ring >= rings_ || rte_vhost_get_vhost_vring(guest_, ring, &vring) != 0 ||
      rte_vhost_get_vring_base(guest_, ring, &next_available, &next_used) != 0)
    return false;
  if (vring.size == 0 || vring.size > kLargestRing) return false;
  if (is_packed() && ((next_available & 0x7fff) >= vring.size || (next_used & 0x7fff) >= vring.size))
    return false;
  if (!is_packed() && !std::has_single_bit(vring.size)) return false;
  const RingShape shape = shape_of(vring.size, features());
  const auto table = memory_table(guest_);
  const auto is_there = [&](const void* start, std::uint64_t bytes, std::uint64_t alignment) {
    const auto address = reinterpret_cast<std::uintptr_t>(start);
    return start != nullptr && address % alignment == 0 &&
           is_within(*table, address, bytes, [](const auto& region) { return region.host_user_addr; });
  };
  return table != nullptr && is_there(vring.desc, shape.descriptors, 16) &&
         is_there(vring.avail, shape.available, shape.available_alignment) &&
         is_there(vring.used, shape.used, shape.used_alignment);
}

bool VhostConversation::is_prepared(std::uint16_t ring) const {
  return ring < rings_ && prepared_[ring] == (is_packed() ? Prepared::Packed : Prepared::Split);
}

std::uint64_t VhostConversation::features() const {
  std::uint64_t features = 0;
  rte_vhost_get_negotiated_features(guest_, &features);
  return features;
}

}  // namespace vmnat::control
