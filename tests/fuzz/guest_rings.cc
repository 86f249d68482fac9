// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/guest_rings.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "tests/fuzz/driver.h"

namespace vmnat::fuzz {

using dataplane::virtio::Descriptor;
using dataplane::virtio::NetHeader;
using dataplane::virtio::UsedElement;
using test::Bytes;
namespace virtio = dataplane::virtio;

void GuestRings::Ring::offer(std::uint16_t head, std::size_t count) {
  if (is_packed) return packed.offer(std::span(descriptors).subspan(head, count), head);
  std::uint16_t& index = available[1];
  available[2 + index % kSize] = head;
  ++index;
}

std::vector<UsedElement> GuestRings::Ring::take_used() {
  if (is_packed) return packed.used();
  std::vector<UsedElement> elements;
  for (; seen != used->start.index; ++seen) elements.push_back(used->elements[seen % kSize]);
  return elements;
}

bool GuestRings::Ring::has_all_back() {
  take_used();
  return is_packed ? packed.has_all_back() : seen == available[1];
}

dataplane::GuestQueue GuestRings::Ring::opened(std::uint64_t features, const dataplane::GuestMemory& memory) {
  const std::uint16_t start = is_packed ? packed.place_of(0).told() : std::uint16_t{0};
  return {{.descriptors = is_packed ? static_cast<void*>(packed.ring().data()) : descriptors.data(),
           .available = is_packed ? static_cast<const void*>(guest_event.get()) : available.data(),
           .used = is_packed ? static_cast<void*>(device_event.get()) : &used->start,
           .size = kSize,
           .features = features,
           .next_available = start,
           .next_used = start},
          memory};
}

GuestRings::GuestRings(std::uint64_t features, std::byte fill)
    : fill_(fill),
      header_length_((features & (virtio::kMergeableBuffers | virtio::kVersion1)) != 0
                         ? sizeof(NetHeader)
                         : virtio::kShortNetHeader),
      is_mergeable_((features & virtio::kMergeableBuffers) != 0),
      sent_memory_(kSendBytes, fill),
      received_memory_(kSize * kRoom, fill),
      send_ring_{.is_packed = (features & virtio::kPackedRing) != 0},
      receive_ring_{.is_packed = send_ring_.is_packed} {
  port_.memory().count = 2;
  port_.memory().regions[0] = {kSendAddress, sent_memory_.size(), sent_memory_.data()};
  port_.memory().regions[1] = {kReceiveAddress, received_memory_.size(), received_memory_.data()};
  for (std::uint16_t i = 0; i < kSize; ++i) {
    receive_ring_.descriptors[i] = {.address = kReceiveAddress + i * kRoom, .length = kRoom};
    receive_ring_.offer(i);
  }
  port_.queue(0) = receive_ring_.opened(features, port_.memory());
  port_.queue(1) = send_ring_.opened(features, port_.memory());
  port_.attach(features);
  port_.set_enabled(0, true);
  port_.set_enabled(1, true);
  port_.resume(dataplane::VhostPort::kDrivenHere);
}

std::uint64_t GuestRings::place(const std::byte* bytes, std::size_t size) {
  free_ -= size;
  std::copy_n(bytes, size, sent_memory_.data() + free_);
  const std::uint64_t address = kSendAddress + free_;
  free_ -= kGap;
  return address;
}

// `most` descriptors, which lead to each other from the first of their table on.
std::vector<Descriptor> GuestRings::pieces(const Bytes& all, const Layout& layout, std::size_t most) {
  std::vector<Descriptor> chain;
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t rest = all.size() - at, wanted = at == 0 ? layout.first : layout.others;
    const std::size_t size = wanted == 0 || chain.size() + 1 == most ? rest : std::min(wanted, rest);
    chain.push_back({place(all.data() + at, size), static_cast<std::uint32_t>(size), Descriptor::kNext,
                     static_cast<std::uint16_t>(chain.size() + 1)});
    at += size;
  }
  chain.back().flags = 0;
  return chain;
}

void GuestRings::send(const NetHeader& header, const Bytes& frame, const Layout& layout) {
  const std::size_t left = kSize - next_descriptor_;
  if (left == 0) return;
  Bytes all(header_length_ + frame.size());
  std::memcpy(all.data(), &header, header_length_);
  std::ranges::copy(frame, all.begin() + static_cast<std::ptrdiff_t>(header_length_));
  const std::uint16_t head = next_descriptor_;
  Descriptor* const first = &send_ring_.descriptors[head];
  const std::vector<Descriptor> chain = pieces(all, layout, layout.is_indirect ? kSize : left);
  std::size_t count = chain.size();
  if (layout.is_indirect) {
    const Bytes table = table_of(chain);
    *first = {place(table.data(), table.size()), static_cast<std::uint32_t>(table.size()),
              Descriptor::kIndirect, 0};
    count = 1;
  } else {
    std::ranges::copy(chain, first);
    for (std::size_t i = 0; i < chain.size(); ++i) first[i].next = static_cast<std::uint16_t>(head + i + 1);
  }
  next_descriptor_ = static_cast<std::uint16_t>(head + count);
  send_ring_.offer(head, count);
}

// In a packed ring's table they follow each other, and none leads on.
Bytes GuestRings::table_of(const std::vector<Descriptor>& chain) const {
  const auto bytes_of = [](const auto& all) {
    const auto bytes = std::as_bytes(std::span(all));
    return Bytes{bytes.begin(), bytes.end()};
  };
  if (!send_ring_.is_packed) return bytes_of(chain);
  std::vector<virtio::PackedDescriptor> packed;
  for (const Descriptor& descriptor : chain)
    packed.push_back({descriptor.address, {.length = descriptor.length}});
  return bytes_of(packed);
}

bool GuestRings::has_all_back() {
  std::fill(sent_memory_.begin() + static_cast<std::ptrdiff_t>(free_), sent_memory_.end(), fill_);
  free_ = kSendBytes;
  next_descriptor_ = 0;
  return send_ring_.has_all_back();
}

std::vector<GuestRings::Received> GuestRings::receive() {
  std::vector<Received> all;
  const std::vector<UsedElement> used = receive_ring_.take_used();
  for (std::span<const UsedElement> left = used; !left.empty();) {
    const std::size_t buffers = buffers_of(left.front());
    if (buffers == 0 || buffers > left.size()) fault("a frame for a guest in buffers that it was not given");
    Bytes bytes;
    for (const UsedElement& element : left.first(buffers)) take_buffer(element, bytes);
    left = left.subspan(buffers);
    if (bytes.size() < header_length_) fault("a frame for a guest without a whole header");
    Received received;
    std::memcpy(&received.header, bytes.data(), header_length_);
    received.frame.assign(bytes.begin() + static_cast<std::ptrdiff_t>(header_length_), bytes.end());
    all.push_back(std::move(received));
  }
  return all;
}

std::size_t GuestRings::buffers_of(const UsedElement& first) const {
  if (first.head >= kSize) return 0;
  if (!is_mergeable_) return 1;
  NetHeader header;
  std::memcpy(&header, received_memory_.data() + first.head * kRoom, sizeof header);
  return header.buffers;
}

// Its bytes, and the buffer is empty and on offer again.
void GuestRings::take_buffer(const UsedElement& element, Bytes& bytes) {
  if (element.head >= kSize || element.length > kRoom) fault("more in a guest's buffer than it holds");
  std::byte* const at = received_memory_.data() + element.head * kRoom;
  bytes.insert(bytes.end(), at, at + element.length);
  std::fill_n(at, element.length, fill_);
  receive_ring_.offer(static_cast<std::uint16_t>(element.head));
}

}  // namespace vmnat::fuzz
