// SPDX-License-Identifier: Apache-2.0
#include "dataplane/device/packet_socket.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/socket.h>

#include "dataplane/device/kernel_frames.h"
#include "dataplane/frame/new_frame.h"
#include "net/byte_order.h"
#include "net/wire.h"

namespace vmnat::dataplane {
namespace {

using virtio::NetHeader;

constexpr std::size_t kTagBytes = 4;
constexpr std::size_t kMacs = 12;  // a frame's two addresses, which a tag stands behind

NetHeader header_at(const std::byte* at) {
  NetHeader header;
  std::memcpy(static_cast<void*>(&header), at, kKernelHeaderBytes);
  return header;
}

// Into a chain of buffers that has room for all of it. False without buffers.
bool make_room(rte_mbuf* frame, std::uint32_t length, rte_mempool* pool) {
  rte_mbuf* last = frame;
  for (std::uint32_t left = length;; last = last->next) {
    last->data_len = static_cast<std::uint16_t>(std::min<std::uint32_t>(left, rte_pktmbuf_tailroom(last)));
    left -= last->data_len;
    if (left == 0) break;
    last->next = rte_pktmbuf_alloc(pool);
    if (last->next == nullptr) return false;
    ++frame->nb_segs;
  }
  frame->pkt_len = length;
  return true;
}

// The kernel takes a frame's outer VLAN tag off it.
[[gnu::cold]] void put_tag_back(rte_mbuf* frame, NetHeader& header, net::Be16 type, net::Be16 tag) {
  frame->data_off = static_cast<std::uint16_t>(frame->data_off - kTagBytes);  // a fresh one has the room
  frame->data_len = static_cast<std::uint16_t>(frame->data_len + kTagBytes);
  frame->pkt_len += kTagBytes;
  auto* const start = rte_pktmbuf_mtod(frame, std::byte*);
  std::memmove(start, start + kTagBytes, kMacs);
  std::memcpy(start + kMacs, &type, sizeof type);
  std::memcpy(start + kMacs + sizeof type, &tag, sizeof tag);
  header.checksum_start = static_cast<std::uint16_t>(header.checksum_start + kTagBytes);
}

// That the interface has been down is told once, by whatever call comes next, when it is up again, too.
template <typename Call>
auto again_if_it_was_down(Call call) {
  const auto result = call();
  return result < 0 && errno == ENETDOWN ? call() : result;
}

}  // namespace

// One of the ring's, which is the kernel's or ours by its status.
class PacketSocket::Slot {
 public:
  explicit Slot(std::byte* at) : at_(at), header_(static_cast<tpacket2_hdr*>(static_cast<void*>(at))) {}

  [[nodiscard]] bool is_ours() const {
    return (std::atomic_ref(header_->tp_status).load(std::memory_order_acquire) & TP_STATUS_USER) != 0;
  }
  void give_back() { std::atomic_ref(header_->tp_status).store(TP_STATUS_KERNEL, std::memory_order_release); }
  void prefetch() const { __builtin_prefetch(at_); }

  [[nodiscard]] bool is_whole() const { return header_->tp_snaplen >= header_->tp_len; }
  // The socket's queue has all of it.
  [[nodiscard]] bool has_copy() const { return (header_->tp_status & TP_STATUS_COPY) != 0; }
  [[nodiscard]] std::uint32_t length() const { return header_->tp_len; }
  [[nodiscard]] const std::byte* data() const { return at_ + header_->tp_mac; }
  [[nodiscard]] NetHeader net_header() const { return header_at(data() - kKernelHeaderBytes); }
  // Writes on a frame that is in its buffers what the kernel says of it.
  void describe(rte_mbuf* frame, NetHeader header) const {
    if ((header_->tp_status & TP_STATUS_VLAN_VALID) != 0)
      put_tag_back(frame, header,
                   net::Be16::from_host((header_->tp_status & TP_STATUS_VLAN_TPID_VALID) != 0
                                            ? header_->tp_vlan_tpid
                                            : std::uint16_t{ETH_P_8021Q}),
                   net::Be16::from_host(header_->tp_vlan_tci));
    mark_by(frame, header);
  }

 private:
  std::byte* at_;
  tpacket2_hdr* header_;
};

// What sendmmsg(2) is told of frames of a burst, which are messages of the same numbers.
struct PacketSocket::Sending {
  std::array<mmsghdr, kMostFrames> messages;
  std::array<NetHeader, kMostFrames> headers;
  std::array<iovec, kMostFrames*(kMostFrameBuffers + 1)> pieces;

  // From `begin` on, as many as there is room for the pieces of; returns where they end.
  unsigned gather(rte_mbuf* const* frames, unsigned begin, unsigned end) {
    unsigned used = 0;
    for (; begin < end && frames[begin]->nb_segs + 1u <= pieces.size() - used; ++begin) {
      headers[begin] = header_for_kernel(frames[begin]);
      messages[begin] = {};
      messages[begin].msg_hdr.msg_iov = pieces.data() + used;
      messages[begin].msg_hdr.msg_iovlen = pieces_of(headers[begin], frames[begin], pieces.data() + used);
      used += frames[begin]->nb_segs + 1u;
    }
    return begin;
  }
};

PacketSocket::PacketSocket() = default;
PacketSocket::~PacketSocket() = default;

void PacketSocket::open(int socket, std::byte* ring, unsigned slots) {
  socket_ = socket;
  ring_ = ring;
  mask_ = slots - 1;
  next_ = 0;
  if (sending_ == nullptr) sending_ = std::make_unique<Sending>();
}

void PacketSocket::close() {
  ring_ = nullptr;
  socket_ = -1;
}

PacketSocket::Slot PacketSocket::slot(unsigned number) const {
  return Slot(ring_ + (number & mask_) * kSlotBytes);
}

bool PacketSocket::has_waiting() const {
  return is_open() && slot(next_).is_ours();
}

std::uint16_t PacketSocket::take(rte_mempool* pool, rte_mbuf** frames, std::uint16_t most) {
  if (!is_open()) return 0;
  unsigned waiting = 0;
  while (waiting < most && slot(next_ + waiting).is_ours()) ++waiting;
  if (waiting == 0 || !new_frames(pool, frames, waiting)) return 0;
  unsigned taken = 0;
  // A slot without its frame takes nobody's place: a full ring may have hardly anything else.
  for (unsigned looked_at = 0; taken < waiting && looked_at <= mask_; ++looked_at) {
    Slot at = slot(next_);
    if (!at.is_ours()) break;
    const Taken result = take_slot(at, pool, frames[taken]);
    if (result == Taken::NoBuffer) break;
    at.give_back();
    ++next_;
    taken += result == Taken::Frame ? 1 : 0;
  }
  if (taken < waiting) rte_pktmbuf_free_bulk(frames + taken, waiting - taken);
  return static_cast<std::uint16_t>(taken);
}

PacketSocket::Taken PacketSocket::take_slot(Slot slot, rte_mempool* pool, rte_mbuf* frame) {
  if (!slot.is_whole() || slot.length() > rte_pktmbuf_tailroom(frame)) return read_long(slot, pool, frame);
  const std::uint32_t length = slot.length();
  std::memcpy(rte_pktmbuf_mtod(frame, void*), slot.data(), length);
  frame->data_len = static_cast<std::uint16_t>(length);
  frame->pkt_len = length;
  slot.describe(frame, slot.net_header());
  return Taken::Frame;
}

PacketSocket::Taken PacketSocket::read_long(Slot slot, rte_mempool* pool, rte_mbuf* frame) {
  if (!slot.has_copy()) return frames_cut_.add(1), Taken::Nothing;
  if (slot.length() > kLongestFrame) {
    again_if_it_was_down([&] { return recv(socket_, nullptr, 0, MSG_DONTWAIT | MSG_TRUNC); });
    return frames_cut_.add(1), Taken::Nothing;
  }
  if (!make_room(frame, slot.length(), pool)) return make_empty(frame), Taken::NoBuffer;
  NetHeader header{};
  std::array<iovec, kMostFrameBuffers + 1> pieces;
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces_of(header, frame, pieces.data());
  const ssize_t got =
      again_if_it_was_down([&] { return recvmsg(socket_, &message, MSG_DONTWAIT | MSG_TRUNC); });
  if (got != static_cast<ssize_t>(kKernelHeaderBytes + slot.length())) {
    frames_cut_.add(1);
    return make_empty(frame), Taken::Nothing;
  }
  slot.describe(frame, header);
  return Taken::Frame;
}

Transmission PacketSocket::put(rte_mbuf* const* frames, std::uint16_t count) {
  Transmission result;
  if (!is_open()) return result;
  const unsigned most = std::min<unsigned>(count, kMostFrames);
  for (unsigned begin = 0, end = 0; begin < most; begin = end) {
    end = sending_->gather(frames, begin, most);
    if (end == begin || !send(begin, end, result)) break;
  }
  return result;
}

// Each call sends frames up to one that is refused, and says why when that is the first one. False: full.
bool PacketSocket::send(unsigned begin, unsigned end, Transmission& result) const {
  while (begin < end) {
    const auto sent = again_if_it_was_down(
        [&] { return sendmmsg(socket_, sending_->messages.data() + begin, end - begin, MSG_DONTWAIT); });
    if (sent > 0) {
      result.sent.add_first(static_cast<unsigned>(sent), begin);
      begin += static_cast<unsigned>(sent);
      continue;
    }
    if (errno == EMSGSIZE)
      result.too_long.add(begin);
    else if (errno == EINVAL)
      result.refused.add(begin);
    else if (errno ==
             ENOBUFS)  // a filter of the host's has dropped it, or a queueing discipline that is full
      result.lost.add(begin);
    else
      return false;
    ++begin;
  }
  return true;
}

}  // namespace vmnat::dataplane
