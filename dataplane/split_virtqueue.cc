// SPDX-License-Identifier: Apache-2.0
#include "dataplane/split_virtqueue.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <sys/eventfd.h>

#include "dataplane/claims.h"
#include "dataplane/offload.h"

namespace vmnat::dataplane {
namespace {

using virtio::NetHeader;

constexpr std::uint32_t kLongestFrame = 65535 + 14 + 2 * 4;  // an IP packet, its Ethernet header, two tags
constexpr std::uint64_t kTransmitMarks =
    RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_IP_CKSUM;

template <std::size_t size>
void copy_block(std::byte* to, const std::byte* from) {
  std::array<std::byte, size> block;
  std::memcpy(block.data(), from, size);
  std::memcpy(to, block.data(), size);
}

// From the start and up to the end, overlapping in the middle.
template <std::size_t size>
void copy_ends(std::byte* to, const std::byte* from, std::size_t bytes) {
  copy_block<size>(to, from);
  copy_block<size>(to + bytes - size, from + bytes - size);
}

// Frames of up to 128 bytes without a call.
void copy_frame(std::byte* to, const std::byte* from, std::size_t bytes) {
  if (bytes > 128 || bytes < 32) {
    std::memcpy(to, from, bytes);
  } else if (bytes > 64) {
    copy_ends<64>(to, from, bytes);
  } else {
    copy_ends<32>(to, from, bytes);
  }
}

// Read as a whole, once.
template <typename T>
T read(const void* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return value;
}

const std::byte* data_of(const rte_mbuf* segment) {
  return rte_pktmbuf_mtod(segment, const std::byte*);
}

// To the frame, whose last buffer is `last`. False without buffers.
[[gnu::cold]] bool append(rte_mbuf* frame, rte_mbuf*& last, const std::byte* from, std::uint32_t bytes,
                          rte_mempool* pool) {
  while (bytes > 0) {
    if (rte_pktmbuf_tailroom(last) == 0) {
      rte_mbuf* const more = rte_pktmbuf_alloc(pool);
      if (more == nullptr) return false;
      last->next = more;
      last = more;
      ++frame->nb_segs;
    }
    const std::uint32_t size = std::min<std::uint32_t>(bytes, rte_pktmbuf_tailroom(last));
    std::memcpy(rte_pktmbuf_mtod_offset(last, std::byte*, last->data_len), from, size);
    last->data_len = static_cast<std::uint16_t>(last->data_len + size);
    frame->pkt_len += size;
    from += size;
    bytes -= size;
  }
  return true;
}

void make_empty(rte_mbuf* frame) {
  rte_pktmbuf_free(frame->next);
  frame->next = nullptr;
  frame->nb_segs = 1;
  frame->data_len = 0;
  frame->pkt_len = 0;
}

}  // namespace

struct SplitVirtqueue::Burst {
  unsigned count;
  std::uint16_t heads[kMostFrames];
  Piece buffers[kMostFrames];
};

// The pieces of a chain of descriptors, one after another, none of them empty.
class SplitVirtqueue::Chain {
 public:
  Chain(const SplitVirtqueue& queue, std::uint16_t head)
      : queue_(queue), table_(queue.descriptors_), table_length_(queue.mask_ + 1u), next_(head) {}

  // False at the end, and where it is broken.
  bool next(Piece& piece) {
    while (left_ == 0)
      if (is_at_end_ || !read_descriptor()) return false;
    std::uint64_t reach = 0;
    piece.at = queue_.memory_->find(address_, reach);
    if (piece.at == nullptr) return break_off();
    piece.bytes = static_cast<std::uint32_t>(std::min<std::uint64_t>(left_, reach));
    address_ += piece.bytes;
    left_ -= piece.bytes;
    return true;
  }
  [[nodiscard]] bool is_broken() const { return is_broken_; }

 private:
  bool break_off() {
    is_broken_ = is_at_end_ = true;
    left_ = 0;
    return false;
  }
  bool read_descriptor() {
    if (next_ >= table_length_ || read_++ > queue_.mask_) return break_off();
    const auto descriptor = read<virtio::Descriptor>(table_ + next_);
    if ((descriptor.flags & virtio::Descriptor::kIndirect) != 0) return enter(descriptor);
    address_ = descriptor.address;
    left_ = descriptor.length;
    next_ = descriptor.next;
    is_at_end_ = (descriptor.flags & virtio::Descriptor::kNext) == 0;
    return true;
  }
  // 2.6.5.3: the chain goes on in a table of its own, which has none in turn.
  bool enter(const virtio::Descriptor& indirect) {
    std::uint64_t reach = 0;
    const std::byte* table = queue_.memory_->find(indirect.address, reach);
    if (table_ != queue_.descriptors_ || reach < indirect.length) return break_off();
    table_ = static_cast<const virtio::Descriptor*>(static_cast<const void*>(table));
    table_length_ = indirect.length / sizeof(virtio::Descriptor);
    next_ = 0;
    return true;
  }

  const SplitVirtqueue& queue_;
  const virtio::Descriptor* table_;
  std::size_t table_length_;
  std::uint16_t next_;
  unsigned read_ = 0;
  std::uint64_t address_ = 0;
  std::uint32_t left_ = 0;
  bool is_at_end_ = false;
  bool is_broken_ = false;
};

// Fills `chains` chains from `number` on, and gives each back with what was written to it.
class SplitVirtqueue::Writer {
 public:
  Writer(SplitVirtqueue& queue, unsigned number, unsigned chains)
      : queue_(queue), number_(number), end_(number + chains), chain_(queue, queue.head(number)) {}

  void write(const void* from, std::size_t bytes) {
    const auto* source = static_cast<const std::byte*>(from);
    while (bytes > 0 && number_ < end_) {
      if (piece_.bytes == 0 && !chain_.next(piece_)) {
        finish_chain();
        continue;
      }
      const std::size_t size = std::min<std::size_t>(bytes, piece_.bytes);
      std::memcpy(piece_.at, source, size);
      piece_.at += size;
      piece_.bytes -= static_cast<std::uint32_t>(size);
      written_ += static_cast<std::uint32_t>(size);
      source += size;
      bytes -= size;
    }
  }
  void finish() {
    while (number_ < end_) finish_chain();
  }

 private:
  void finish_chain() {
    queue_.give_back(number_, queue_.head(number_), written_);
    written_ = 0;
    piece_ = {};
    if (++number_ < end_) std::construct_at(&chain_, queue_, queue_.head(number_));
  }

  SplitVirtqueue& queue_;
  unsigned number_;
  unsigned end_;
  Chain chain_;
  Piece piece_{};
  std::uint32_t written_ = 0;
};

SplitVirtqueue::SplitVirtqueue(const Layout& layout, const GuestMemory& memory)
    : descriptors_(layout.descriptors),
      available_(layout.available),
      used_(layout.used),
      memory_(&memory),
      mask_(static_cast<std::uint16_t>(layout.size - 1)),
      next_available_(layout.next_available),
      next_used_(layout.next_used),
      header_length_((layout.features & (virtio::kMergeableBuffers | virtio::kVersion1)) != 0
                         ? sizeof(NetHeader)
                         : virtio::kShortNetHeader),
      is_mergeable_((layout.features & virtio::kMergeableBuffers) != 0),
      has_event_index_((layout.features & virtio::kEventIndex) != 0),
      call_fd_(layout.call_fd) {
  if (descriptors_ == nullptr || used_ == nullptr || !std::has_single_bit(layout.size)) available_ = nullptr;
}

std::uint16_t SplitVirtqueue::waiting() const {
  const std::uint16_t index = virtio::load(available_->index, std::memory_order_acquire);
  // More than there are is no guest's right; the ring goes round all the same.
  return std::min<std::uint16_t>(static_cast<std::uint16_t>(index - next_available_),
                                 static_cast<std::uint16_t>(mask_ + 1));
}

std::uint16_t SplitVirtqueue::head(unsigned number) const {
  return virtio::load(heads()[(next_available_ + number) & mask_]);
}

void SplitVirtqueue::look_at_heads(Burst& burst) const {
  for (unsigned i = 0; i < burst.count; ++i) {
    burst.heads[i] = head(i);
    __builtin_prefetch(descriptors_ + (burst.heads[i] & mask_));
  }
}

void SplitVirtqueue::look_at_buffers(Burst& burst, bool is_written) const {
  for (unsigned i = 0; i < burst.count; ++i) {
    const Piece buffer = burst.buffers[i] = in_one_piece(burst.heads[i]);
    if (buffer.at == nullptr) continue;
    if (is_written) {
      __builtin_prefetch(buffer.at, 1);
      __builtin_prefetch(buffer.at + 64, 1);
    } else {
      __builtin_prefetch(buffer.at);
      __builtin_prefetch(buffer.at + 64);
    }
  }
}

SplitVirtqueue::Piece SplitVirtqueue::in_one_piece(std::uint16_t head) const {
  if (head > mask_) return {};
  const auto descriptor = read<virtio::Descriptor>(descriptors_ + head);
  if ((descriptor.flags & (virtio::Descriptor::kNext | virtio::Descriptor::kIndirect)) != 0) return {};
  std::uint64_t reach = 0;
  std::byte* const at = memory_->find(descriptor.address, reach);
  return reach < descriptor.length ? Piece{} : Piece{at, descriptor.length};
}

std::uint16_t SplitVirtqueue::take(rte_mempool* pool, rte_mbuf** frames, std::uint16_t most) {
  if (!is_open()) return 0;
  Burst burst;
  burst.count = std::min({unsigned{waiting()}, unsigned{most}, kMostFrames});
  if (burst.count == 0 || rte_pktmbuf_alloc_bulk(pool, frames, burst.count) != 0) return 0;
  look_at_heads(burst);
  look_at_buffers(burst, false);
  unsigned taken = 0;
  for (; taken < burst.count; ++taken) {
    const Piece buffer = burst.buffers[taken];
    const bool fits =
        buffer.bytes > header_length_ && buffer.bytes - header_length_ <= rte_pktmbuf_tailroom(frames[taken]);
    if (fits)
      copy_out(buffer, frames[taken]);
    else if (!gather(burst.heads[taken], pool, frames[taken]))
      break;
    give_back(taken, burst.heads[taken], 0);
  }
  if (taken < burst.count) rte_pktmbuf_free_bulk(frames + taken, burst.count - taken);
  if (taken > 0) publish(taken);
  return static_cast<std::uint16_t>(taken);
}

void SplitVirtqueue::copy_out(Piece buffer, rte_mbuf* frame) const {
  const std::uint32_t length = buffer.bytes - header_length_;
  copy_frame(rte_pktmbuf_mtod(frame, std::byte*), buffer.at + header_length_, length);
  frame->data_len = static_cast<std::uint16_t>(length);
  frame->pkt_len = length;
  const auto header = read<NetHeader>(buffer.at);
  if ((header.flags | header.segmentation) != 0) mark_unfinished(frame, header);
}

// False without buffers for all of it.
bool SplitVirtqueue::gather(std::uint16_t head, rte_mempool* pool, rte_mbuf* frame) const {
  NetHeader header;
  auto* const header_bytes = static_cast<std::byte*>(static_cast<void*>(&header));
  std::uint32_t header_read = 0;
  rte_mbuf* last = frame;
  Chain chain(*this, head);
  for (Piece piece; chain.next(piece);) {
    const std::uint32_t of_header = std::min(piece.bytes, header_length_ - header_read);
    std::memcpy(header_bytes + header_read, piece.at, of_header);
    header_read += of_header;
    const std::uint32_t rest = piece.bytes - of_header;
    if (rest > kLongestFrame - frame->pkt_len) return make_empty(frame), true;
    if (!append(frame, last, piece.at + of_header, rest, pool)) return make_empty(frame), false;
  }
  if (chain.is_broken())
    make_empty(frame);
  else if ((header.flags | header.segmentation) != 0)
    mark_unfinished(frame, header);
  return true;
}

std::uint16_t SplitVirtqueue::put(rte_mbuf* const* frames, std::uint16_t count) {
  const unsigned available = is_open() ? waiting() : 0;
  if (available == 0) return 0;
  Burst burst;
  burst.count = std::min({available, unsigned{count}, kMostFrames});
  look_at_heads(burst);
  look_at_buffers(burst, true);
  unsigned sent = 0, done = 0;  // frames, chains
  for (; sent < count; ++sent) {
    rte_mbuf* const frame = frames[sent];
    const std::uint32_t length = header_length_ + frame->pkt_len;
    const bool is_plain = frame->nb_segs == 1 && (frame->ol_flags & kTransmitMarks) == 0;
    if (is_plain && done < burst.count && length <= burst.buffers[done].bytes) {
      copy_in(frame, burst.buffers[done].at);
      give_back(done, burst.heads[done], length);
      ++done;
    } else if (!scatter(frame, done, available)) {
      break;
    }
  }
  if (done > 0) publish(done);
  return static_cast<std::uint16_t>(sent);
}

void SplitVirtqueue::copy_in(const rte_mbuf* frame, std::byte* buffer) const {
  const NetHeader header{.buffers = 1};
  if (header_length_ == sizeof header)
    copy_block<sizeof header>(buffer, static_cast<const std::byte*>(static_cast<const void*>(&header)));
  else
    std::memset(buffer, 0, virtio::kShortNetHeader);
  copy_frame(buffer + header_length_, data_of(frame), frame->pkt_len);
}

// A frame that is not in one piece, or does not fit into one, or needs a header. Of the chains that are
// available `done` are used, and then those that it takes. False: the guest has not that much room.
bool SplitVirtqueue::scatter(rte_mbuf* frame, unsigned& done, unsigned available) {
  while (done < available && capacity(head(done)) == 0) {  // a broken chain would stand in the way for ever
    give_back(done, head(done), 0);
    ++done;
  }
  const std::uint32_t needed = header_length_ + frame->pkt_len;
  unsigned chains = 0;
  for (std::uint64_t room = 0; room < needed; ++chains) {
    if (done + chains == available || (chains == 1 && !is_mergeable_)) return false;
    room += capacity(head(done + chains));
  }
  NetHeader header = header_for_guest(frame);
  header.buffers = static_cast<std::uint16_t>(chains);
  Writer writer(*this, done, chains);
  writer.write(&header, header_length_);
  for (const rte_mbuf* segment = frame; segment != nullptr; segment = segment->next)
    writer.write(data_of(segment), segment->data_len);
  writer.finish();
  done += chains;
  return true;
}

std::uint64_t SplitVirtqueue::capacity(std::uint16_t head) const {
  std::uint64_t bytes = 0;
  Chain chain(*this, head);
  for (Piece piece; chain.next(piece);) bytes += piece.bytes;
  return chain.is_broken() ? 0 : bytes;
}

void SplitVirtqueue::give_back(unsigned number, std::uint16_t head, std::uint32_t written) {
  elements()[(next_used_ + number) & mask_] = {.head = head, .length = written};
}

// 2.6.7.1, 2.6.8: the guest may ask to be called meanwhile, so what is used is visible before that is read.
void SplitVirtqueue::publish(unsigned chains) {
  const std::uint16_t used_before = next_used_;
  next_available_ = static_cast<std::uint16_t>(next_available_ + chains);
  next_used_ = static_cast<std::uint16_t>(next_used_ + chains);
  virtio::store(used_->index, next_used_, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (wants_call(used_before)) call_guest();
}

bool SplitVirtqueue::wants_call(std::uint16_t used_before) const {
  if (!has_event_index_) return (virtio::load(available_->flags) & virtio::RingStart::kNoInterrupt) == 0;
  const std::uint16_t event = virtio::load(heads()[mask_ + 1]);
  return static_cast<std::uint16_t>(next_used_ - event - 1) <
             static_cast<std::uint16_t>(next_used_ - used_before) ||
         !was_called_;
}

void SplitVirtqueue::call_guest() {
  was_called_ = true;
  if (call_fd_ >= 0) eventfd_write(call_fd_, 1);
}

}  // namespace vmnat::dataplane
