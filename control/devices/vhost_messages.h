// SPDX-License-Identifier: Apache-2.0
// What a VMM says in vhost-user, held against what can be right before librte_vhost acts on it.
//
// The VMM is as little trusted as its guest, which may have taken it over. librte_vhost 22.11 checks most of
// what it is told, but not all: that rings still lie in mapped memory once their size has changed, that a log
// of dirty pages has the size it is said to have, that a descriptor to be written to does not make the writer
// wait. And it answers to messages of features that were never offered (userfaultfd, in-flight buffers). So:
//
//   message -> refusal()? -> yes: an error for the VMM, or, where it did not ask for an answer, its end
//                            no:  librte_vhost
//
// A refused message changes nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <rte_version.h>
#include <rte_vhost.h>
#include <string_view>

#include "dataplane/device/vhost_port.h"

namespace vmnat::control {

// Numbers of vhost-user's messages that are looked at.
enum class VhostRequest : std::uint32_t {
  SetFeatures = 2,
  ResetOwner = 4,
  SetMemTable = 5,
  SetLogBase = 6,
  SetVringNum = 8,
  SetVringAddr = 9,
  SetVringBase = 10,
  GetVringBase = 11,
  SetVringKick = 12,
  SetVringCall = 13,
  SetVringErr = 14,
  GetQueueNum = 17,
  SetVringEnable = 18,
  SendRarp = 19,
  NetSetMtu = 20,
  IotlbMsg = 22,
  PostcopyAdvise = 28,
  PostcopyListen = 29,
  PostcopyEnd = 30,
  GetInflightFd = 31,
  SetInflightFd = 32,
};

// A message with its descriptors, as librte_vhost hands it to handlers outside of it (vhu_msg_context).
struct [[gnu::packed]] VhostMessage {
  static constexpr unsigned kMostDescriptors = 8;
  VhostRequest request;
  std::uint32_t flags;
  std::uint32_t size;  // of the payload
  std::array<std::byte, 632> payload;
  std::array<int, kMostDescriptors> descriptors;
  int descriptor_count;

  template <typename T>
  [[nodiscard]] T payload_as(std::size_t offset = 0) const {
    T value;
    std::memcpy(&value, payload.data() + offset, sizeof value);
    return value;
  }
  void set_payload(std::uint64_t value) {
    std::memcpy(payload.data(), &value, sizeof value);
    size = sizeof value;
  }
};
static_assert(
    RTE_VERSION >= RTE_VERSION_NUM(22, 11, 0, 0) && RTE_VERSION < RTE_VERSION_NUM(23, 0, 0, 0),
    "the layout of vhu_msg_context, and what librte_vhost checks by itself, are to be looked at again");
static_assert(sizeof(VhostMessage) == 12 + 632 + 4 * 8 + 4);

// One connection's conversation. librte_vhost's thread.
class VhostConversation {
 public:
  static constexpr unsigned kMostRings = 2 * dataplane::VhostPort::kMostQueues;
  static constexpr std::uint64_t kMostMemory = std::uint64_t{4} << 40;  // bytes, of all regions
  static constexpr unsigned kMostMessages = 5000;                       // a second

  // `guest` is librte_vhost's number of it.
  VhostConversation(int guest, unsigned rings) : guest_(guest), rings_(rings) {}

  // Why librte_vhost is not to hear of it; empty: it is.
  [[nodiscard]] std::string_view refusal(const VhostMessage& message) const;
  // One more message in this second: false when it is too many.
  bool count(std::uint64_t second);
  // Before and after librte_vhost has acted on the message.
  void begin(const VhostMessage& message);
  void succeed(const VhostMessage& message);

  // Memory is mapped; without, librte_vhost must not be asked for it.
  [[nodiscard]] bool has_memory() const { return has_memory_; }
  // All bytes of the ring lie in mapped memory, where they may, and its indices in the ring.
  [[nodiscard]] bool is_sound(std::uint16_t ring) const;
  // librte_vhost has what it needs to drive the ring: it allocates that for the size and the kind of ring
  // that it was told last, and frees it when a ring stops.
  [[nodiscard]] bool is_prepared(std::uint16_t ring) const;
  [[nodiscard]] std::uint64_t features() const;
  [[nodiscard]] bool is_packed() const { return (features() & dataplane::virtio::kPackedRing) != 0; }
  // Where the ring is, as the VMM has said it since this was asked for last (SET_VRING_BASE).
  std::optional<std::uint16_t> take_told_place(std::uint16_t ring);

 private:
  enum class Prepared : std::uint8_t { No, Split, Packed };
  [[nodiscard]] std::string_view refusal_of_memory(const VhostMessage& message) const;
  [[nodiscard]] std::string_view refusal_of_size(const VhostMessage& message) const;
  [[nodiscard]] std::string_view refusal_of_base(const VhostMessage& message) const;
  [[nodiscard]] std::string_view refusal_of_addresses(const VhostMessage& message) const;

  int guest_;
  unsigned rings_;
  bool has_memory_ = false;
  std::array<Prepared, kMostRings> prepared_{};
  std::array<std::optional<std::uint16_t>, kMostRings> told_places_{};
  std::uint64_t second_ = 0;
  unsigned messages_ = 0;  // in it
};

}  // namespace vmnat::control
