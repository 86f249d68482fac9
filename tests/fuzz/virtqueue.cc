// SPDX-License-Identifier: Apache-2.0
// A guest's virtqueue under any descriptors: frames are taken from it and put into it, and nothing is read or
// written outside of the guest's memory, nothing lost, nothing given back twice.
//
//   byte 0           features: 1 mergeable, 2 virtio 1, 4 event index, 8 packed
//   8 x 8 bytes      descriptors: place, offset (2), length (2), times 256 when the place's bit 7 is set,
//                    flags, next, length's high part
//   1 byte, n bytes  heads that are made available
//   the rest         what stands in the guest's memory from kLow on: frames, tables of indirect descriptors; in the end
//                    also in a packed ring, which is then looked at, and driven, as it is found
#include <algorithm>
#include <array>
#include <cstring>
#include <rte_mempool.h>
#include <span>

#include "dataplane/device/offload.h"
#include "dataplane/device/packed_recovery.h"
#include "tests/fuzz/driver.h"
#include "tests/support/fake_guest.h"
#include "tests/support/testbed.h"

namespace {

using vmnat::dataplane::virtio::Descriptor;
using vmnat::test::FakeGuest;
namespace virtio = vmnat::dataplane::virtio;

constexpr std::uint32_t kLongestFrame = 65535 + 14 + 2 * 4;

// The input from front to back; zeroes when it is at its end.
class Reader {
 public:
  explicit Reader(std::span<const std::uint8_t> input) : rest_(input) {}
  std::uint8_t byte() {
    if (rest_.empty()) return 0;
    const std::uint8_t value = rest_.front();
    rest_ = rest_.subspan(1);
    return value;
  }
  std::uint16_t word() {
    const std::uint16_t low = byte();
    return static_cast<std::uint16_t>(low | byte() << 8);
  }
  [[nodiscard]] std::span<const std::uint8_t> rest() const { return rest_; }

 private:
  std::span<const std::uint8_t> rest_;
};

Descriptor read_descriptor(Reader& reader) {
  const std::uint8_t place = reader.byte();
  const std::uint16_t offset = reader.word(), length = reader.word();
  const std::uint8_t flags = reader.byte(), next = reader.byte(), high = reader.byte();
  constexpr std::array<std::uint64_t, 4> kBases{
      FakeGuest::kLow, FakeGuest::kHigh, FakeGuest::kLow + FakeGuest::kBytes - 128, ~std::uint64_t{0} - 200};
  return {kBases[place & 3] + offset, (place & 0x80) != 0 ? length | std::uint32_t{high} << 24 : length,
          flags, next};
}

void check(bool is_true, const char* statement) {
  if (!is_true) vmnat::fuzz::fault(statement);
}

std::uint32_t length_of(const rte_mbuf* frame) {
  std::uint32_t length = 0;
  unsigned buffers = 0;
  for (const rte_mbuf* segment = frame; segment != nullptr; segment = segment->next, ++buffers)
    length += segment->data_len;
  check(buffers == frame->nb_segs, "a frame whose buffers are miscounted");
  return length;
}

void take(FakeGuest& guest) {
  std::array<rte_mbuf*, 32> frames{};
  for (unsigned turn = 0; turn < 300; ++turn) {
    guest.queue().ask_for_kick();
    guest.queue().refuse_kicks();
    const std::uint16_t count = guest.queue().take(vmnat::test::packet_pool(), frames.data(), 32);
    check(guest.used().size() == count, "as many chains come back as frames are taken");
    if (count == 0) return;
    for (std::uint16_t i = 0; i < count; ++i) {
      const std::uint32_t length = length_of(frames[i]);
      check(length == frames[i]->pkt_len && length <= kLongestFrame, "a frame of the wrong length");
      check(length > 0 || !vmnat::dataplane::is_unfinished(frames[i]), "an empty frame that is unfinished");
      rte_pktmbuf_free(frames[i]);
    }
  }
  vmnat::fuzz::fault("more frames than were made available");
}

rte_mbuf* frame_of(std::size_t length) {
  return vmnat::test::buffer_of(vmnat::test::Bytes(length, std::byte{0x5a}));
}

void put(FakeGuest& guest, unsigned available) {
  std::array<rte_mbuf*, 4> frames{frame_of(60), frame_of(1514), frame_of(9000), frame_of(64)};
  const auto [taken, too_long, refused, lost] = guest.queue().put(frames.data(), frames.size());
  const bool are_apart = taken.without(too_long) == taken;
  check(are_apart && std::max(taken.reach(), too_long.reach()) <= frames.size(),
        "a frame is taken, or too long");
  check(refused.is_empty() && lost.is_empty(), "nothing else becomes of one");
  const unsigned sent = taken.size();
  const std::size_t used = guest.used().size();
  check(used >= sent && used <= available, "chains come back, and no more than there were");
  for (rte_mbuf* frame : frames) rte_pktmbuf_free(frame);
}

// A ring of any bytes: what comes of it is the guest's business, and of bounded size.
void drive_as_found(FakeGuest& guest, std::span<const std::uint8_t> bytes) {
  const auto ring = std::as_writable_bytes(std::span(guest.packed().ring()));
  std::memcpy(ring.data(), bytes.data(), std::min(ring.size(), bytes.size()));
  const auto place = vmnat::dataplane::PackedRecovery(guest.packed().ring(), guest.memory()).recover();
  check(!place || (*place & 0x7fff) < guest.size(), "a place that is not in the ring");
  guest.reopen_at(place.value_or(0));
  std::array<rte_mbuf*, 32> frames{};
  const std::uint16_t count = guest.queue().take(vmnat::test::packet_pool(), frames.data(), 32);
  rte_pktmbuf_free_bulk(frames.data(), count);
  frames[0] = frame_of(9000);
  guest.queue().put(frames.data(), 1);
  rte_pktmbuf_free(frames[0]);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const unsigned buffers_before = rte_mempool_avail_count(vmnat::test::packet_pool());
  Reader reader({bytes, size});
  const std::uint8_t features = reader.byte();
  FakeGuest guest(
      ((features & 1) != 0 ? virtio::kMergeableBuffers : 0) | ((features & 2) != 0 ? virtio::kVersion1 : 0) |
      ((features & 4) != 0 ? virtio::kEventIndex : 0) | ((features & 8) != 0 ? virtio::kPackedRing : 0));
  for (unsigned i = 0; i < FakeGuest::kSize; ++i) guest.descriptor(i) = read_descriptor(reader);
  std::vector<std::uint8_t> heads(reader.byte());
  for (std::uint8_t& head : heads) head = reader.byte();
  const auto memory = reader.rest();
  std::memcpy(guest.here(FakeGuest::kLow), memory.data(),
              std::min<std::size_t>(memory.size(), FakeGuest::kBytes));

  for (const std::uint8_t head : heads) guest.offer_head(head);
  take(guest);
  const unsigned available = std::min<unsigned>(static_cast<unsigned>(heads.size()), FakeGuest::kSize);
  for (unsigned i = 0; i < available; ++i) guest.offer_head(heads[i]);
  put(guest, available);
  if (guest.is_packed()) drive_as_found(guest, memory);
  check(rte_mempool_avail_count(vmnat::test::packet_pool()) == buffers_before, "buffers were lost");
  return 0;
}

namespace vmnat::fuzz {

// Frames in one piece; behind a header of their own; in an indirect table; a loop; broken places.
std::vector<std::vector<std::uint8_t>> seeds() {
  const std::vector<std::uint8_t> descriptors = {
      0,    0,   2, 100,  0, 0, 0, 0,  // one piece at kLow + 512
      0,    0,   3, 12,   0, 1, 2, 0,  // a header, then
      1,    0,   0, 0xea, 5, 0, 0, 0,  // 1514 bytes
      0,    0,   0, 32,   0, 4, 0, 0,  // a table of two at kLow
      0,    0,   4, 50,   0, 1, 4, 0,  // a loop
      2,    100, 0, 60,   0, 0, 0, 0,  // beyond the end
      3,    0,   0, 60,   0, 0, 0, 0,  // no memory
      0x80, 0,   0, 0,    0, 0, 0, 1,  // 16 MiB
  };
  const std::vector<std::uint8_t> table = {
      0, 2, 1, 0, 0, 0, 0, 0, 12,   0,    0, 0, 1, 0, 1, 0,  // kLow + 512
      0, 3, 1, 0, 0, 0, 0, 0, 0x40, 0x1f, 0, 0, 0, 0, 0, 0,  // 8000 bytes
  };
  std::vector<std::vector<std::uint8_t>> all;
  for (const std::uint8_t features : {0, 2, 3, 7, 10, 11, 15}) {
    std::vector<std::uint8_t> seed{features};
    seed.insert(seed.end(), descriptors.begin(), descriptors.end());
    for (const std::uint8_t byte : {7, 0, 1, 3, 4, 5, 6, 7}) seed.push_back(byte);
    seed.insert(seed.end(), table.begin(), table.end());
    all.push_back(seed);
  }
  return all;
}

}  // namespace vmnat::fuzz
