// SPDX-License-Identifier: Apache-2.0
#include "dataplane/device/split_virtqueue.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <memory>
#include <sys/eventfd.h>

#include "dataplane/device/claims.h"
#include "dataplane/device/offload.h"
#include "dataplane/frame/packet.h"

namespace vmnat::dataplane {
namespace {

using virtio::NetHeader;

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

}  // namespace

struct SplitVirtqueue::Burst {
  unsigned count;
  std::uint16_t heads[kMostFrames];
  Piece buffers[kMostFrames];
};

// What a call of take() may still do.
struct SplitVirtqueue::Work {
  unsigned descriptors = kDescriptorsPerCall;
  std::uint32_t bytes = kBytesPerCall;
};

// Where a call of put() is, and what it may still do.
struct SplitVirtqueue::Walk {
  unsigned available;   // chains
  unsigned done = 0;    // of them, given back
  unsigned unused = 0;  // of these, without a byte
  unsigned descriptors = kDescriptorsPerCall;
  std::uint64_t room = ~std::uint64_t{0};  // what no frame can be longer than:
  unsigned measured_at = 0;                // in the chain of this number, or with mergeable buffers in all

  [[nodiscard]] bool is_over() const { return done == available || descriptors == 0; }
};

// The pieces of a chain of descriptors, one after another, none of them empty.
class SplitVirtqueue::Chain {
 public:
  // Reads no more than `budget` descriptors, and takes what it reads off it.
  Chain(SplitVirtqueue& queue, std::uint16_t head, unsigned& budget)
      : queue_(queue),
        budget_(budget),
        table_(queue.descriptors_),
        table_length_(queue.mask_ + 1u),
        next_(head) {}

  // False at the end, where it is broken, and when the budget is used up.
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
  [[nodiscard]] bool is_cut_short() const { return is_cut_short_; }

 private:
  bool break_off() {
    is_broken_ = is_at_end_ = true;
    left_ = 0;
    return false;
  }
  bool read_descriptor() {
    // An indirect descriptor does not count: its table may be as long as the ring (2.6.5.3.1).
    if (next_ >= table_length_ || read_ > std::min<unsigned>(queue_.mask_ + 1u, kLongestChain))
      return break_off();
    if (budget_ == 0) return is_cut_short_ = true, false;
    --budget_;
    ++read_;
    ++queue_.descriptors_walked_;
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

  SplitVirtqueue& queue_;
  unsigned& budget_;
  const virtio::Descriptor* table_;
  std::size_t table_length_;
  std::uint16_t next_;
  unsigned read_ = 0;
  std::uint64_t address_ = 0;
  std::uint32_t left_ = 0;
  bool is_at_end_ = false;
  bool is_broken_ = false;
  bool is_cut_short_ = false;
};

// Writes a frame, behind virtio's header, into the chains from the walk's place on. What it writes, and what
// it notes in the used ring, the guest does not look at before the index has passed it: a frame that turns
// out not to fit is forgotten by going back to where it began.
class SplitVirtqueue::Writer {
 public:
  Writer(SplitVirtqueue& queue, Walk& walk)
      : queue_(queue),
        walk_(walk),
        number_(walk.done),
        head_(queue.head(walk.done)),
        chain_(queue, head_, walk.descriptors) {}

  // False where the chains end, one of them is broken, or the budget is used up.
  bool write(rte_mbuf* frame) {
    if (!write_header(virtio_header_of(frame))) return false;
    for (const rte_mbuf* segment = frame; segment != nullptr; segment = segment->next)
      if (!write(data_of(segment), segment->data_len)) return false;
    note_chain();
    count_chains();
    return true;
  }
  [[nodiscard]] unsigned chains() const { return number_ - walk_.done; }  // that are full, or done with
  [[nodiscard]] std::uint64_t written() const { return written_before_ + written_; }
  [[nodiscard]] bool found_broken() const { return is_broken_; }
  [[nodiscard]] bool was_cut_short() const { return chain_.is_cut_short(); }

 private:
  bool write(const std::byte* from, std::size_t bytes) {
    while (bytes > 0) {
      if (piece_.bytes == 0 && !chain_.next(piece_)) {
        if (!go_on()) return false;
        continue;
      }
      const std::size_t size = std::min<std::size_t>(bytes, piece_.bytes);
      std::memcpy(piece_.at, from, size);
      piece_.at += size;
      piece_.bytes -= static_cast<std::uint32_t>(size);
      written_ += static_cast<std::uint32_t>(size);
      from += size;
      bytes -= size;
    }
    return true;
  }
  // The number of chains is known at the end: until then its two bytes, which may lie apart, are remembered.
  bool write_header(const NetHeader& header) {
    if (!write(static_cast<const std::byte*>(static_cast<const void*>(&header)), virtio::kShortNetHeader))
      return false;
    constexpr std::byte kNone{0};
    for (unsigned i = 0; i < queue_.header_length_ - virtio::kShortNetHeader; ++i) {
      if (!write(&kNone, 1)) return false;
      count_at_[i] = piece_.at - 1;
    }
    return true;
  }
  void count_chains() {
    if (count_at_[1] == nullptr) return;
    *count_at_[0] = static_cast<std::byte>(chains());
    *count_at_[1] = static_cast<std::byte>(chains() >> 8);
  }
  // To the next chain.
  bool go_on() {
    if (chain_.is_cut_short()) return false;
    if (chain_.is_broken() || written_ == 0) return is_broken_ = true, false;
    if (!queue_.is_mergeable_ || number_ + 1 == walk_.available) return false;
    note_chain();
    head_ = queue_.head(number_);
    std::construct_at(&chain_, queue_, head_, walk_.descriptors);
    return true;
  }
  void note_chain() {
    queue_.give_back(number_, head_, written_);
    written_before_ += written_;
    written_ = 0;
    piece_ = {};
    ++number_;
  }

  SplitVirtqueue& queue_;
  Walk& walk_;
  unsigned number_;
  std::uint16_t head_;
  Chain chain_;
  Piece piece_{};
  std::byte* count_at_[2] = {nullptr, nullptr};
  std::uint32_t written_ = 0;  // to this chain
  std::uint64_t written_before_ = 0;
  bool is_broken_ = false;
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
      call_fd_(layout.call_fd),
      deferrals_(layout.deferrals),
      kick_fd_(layout.kick_fd),
      interrupts_(layout.interrupts) {
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
  Work work;
  unsigned taken = 0;
  for (; taken < burst.count; ++taken) {
    const Piece buffer = burst.buffers[taken];
    const bool fits =
        buffer.bytes > header_length_ && buffer.bytes - header_length_ <= rte_pktmbuf_tailroom(frames[taken]);
    if (fits)
      copy_out(buffer, frames[taken]);
    else if (!gather(burst.heads[taken], pool, frames[taken], work))
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
  // The short one's bytes, which every header has: the number of buffers is for received frames.
  NetHeader header{};
  std::memcpy(static_cast<void*>(&header), buffer.at, virtio::kShortNetHeader);
  std::atomic_signal_fence(std::memory_order_seq_cst);  // read once
  if ((header.flags | header.segmentation) != 0) mark_unfinished(frame, header);
}

// False when it has to wait for the next call: without buffers for all of it, or when this one has done
// enough.
bool SplitVirtqueue::gather(std::uint16_t head, rte_mempool* pool, rte_mbuf* frame, Work& work) {
  if (work.bytes == 0) return defer(), false;
  NetHeader header{};
  auto* const header_bytes = static_cast<std::byte*>(static_cast<void*>(&header));
  std::uint32_t header_read = 0;
  rte_mbuf* last = frame;
  Chain chain(*this, head, work.descriptors);
  for (Piece piece; chain.next(piece);) {
    const std::uint32_t of_header = std::min(piece.bytes, header_length_ - header_read);
    std::memcpy(header_bytes + header_read, piece.at, of_header);
    header_read += of_header;
    const std::uint32_t rest = piece.bytes - of_header;
    if (rest > kLongestFrame - frame->pkt_len) return make_empty(frame), true;
    work.bytes -= std::min(work.bytes, rest);
    if (!append(frame, last, piece.at + of_header, rest, pool)) return make_empty(frame), false;
  }
  if (chain.is_cut_short()) return make_empty(frame), defer(), false;
  if (chain.is_broken() || header_read < header_length_)
    make_empty(frame);
  else if ((header.flags | header.segmentation) != 0)
    mark_unfinished(frame, header);
  return true;
}

Transmission SplitVirtqueue::put(rte_mbuf* const* frames, std::uint16_t count) {
  const unsigned available = is_open() ? waiting() : 0;
  if (available == 0) return {};
  const unsigned most = std::min<unsigned>(count, kMostFrames);
  Burst burst;
  burst.count = std::min(available, most);
  look_at_heads(burst);
  look_at_buffers(burst, true);
  Transmission result;
  Walk walk{.available = available};
  for (unsigned i = 0; i < most; ++i) {
    rte_mbuf* const frame = frames[i];
    const std::uint32_t length = header_length_ + frame->pkt_len;
    const bool is_plain = frame->nb_segs == 1 && (frame->ol_flags & kTransmitMarks) == 0;
    Fit fit = Fit::Written;
    if (is_plain && walk.done < burst.count && length <= burst.buffers[walk.done].bytes) {
      copy_in(frame, burst.buffers[walk.done].at);
      give_back(walk.done, burst.heads[walk.done], length);
      ++walk.done;
    } else {
      fit = scatter(frame, walk);
    }
    if (fit == Fit::Written)
      result.sent |= 1u << i;
    else if (fit == Fit::TooLong)
      result.too_long |= 1u << i;
    else if (walk.is_over())
      break;
  }
  if (walk.descriptors == 0 && walk.done < available) defer();
  if (walk.done > 0) publish(walk.done);
  return result;
}

void SplitVirtqueue::copy_in(const rte_mbuf* frame, std::byte* buffer) const {
  const NetHeader header{.buffers = 1};
  if (header_length_ == sizeof header)
    copy_block<sizeof header>(buffer, static_cast<const std::byte*>(static_cast<const void*>(&header)));
  else
    std::memset(buffer, 0, virtio::kShortNetHeader);
  copy_frame(buffer + header_length_, data_of(frame), frame->pkt_len);
}

// A frame that is not in one piece, or does not fit into one, or needs a header. A chain that is broken, or
// too short for any frame, would stand in the way for ever: it goes back unused, with those that were to be
// filled before it.
SplitVirtqueue::Fit SplitVirtqueue::scatter(rte_mbuf* frame, Walk& walk) {
  const std::uint32_t needed = header_length_ + frame->pkt_len;
  if (!walk.is_over()) walk.descriptors += kDescriptorsPerFrame + needed / kBytesPerDescriptor;
  while (!walk.is_over()) {
    const bool is_measured = is_mergeable_ || walk.measured_at == walk.done;
    if (is_measured && needed > walk.room) break;
    Writer writer(*this, walk);
    if (writer.write(frame)) {
      walk.done += writer.chains();
      walk.room -= std::min<std::uint64_t>(walk.room, needed);
      return Fit::Written;
    }
    if (writer.was_cut_short()) return Fit::Full;
    walk.room = writer.written();
    walk.measured_at = walk.done;
    const std::uint32_t least = header_length_ + (is_mergeable_ ? 0 : kShortestFrame);
    if (writer.found_broken() || walk.room < least) {
      give_back_unused(walk, writer.chains() + 1);
      walk.room = ~std::uint64_t{0};
    }
  }
  const bool has_seen_all = walk.done == 0 && walk.available == mask_ + 1u;
  return !walk.is_over() && (!is_mergeable_ || has_seen_all) ? Fit::TooLong : Fit::Full;
}

// A burst's worth at most in a call.
void SplitVirtqueue::give_back_unused(Walk& walk, unsigned chains) {
  for (; chains > 0 && walk.unused < kMostFrames; --chains, ++walk.unused, ++walk.done)
    give_back(walk.done, head(walk.done), 0);
  if (walk.unused == kMostFrames) walk.descriptors = 0;
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

// Never waits: control has made the descriptor so. A full one has been heard of already. One that fails in
// another way, such as a pipe that nobody reads any more, is left alone.
void SplitVirtqueue::call_guest() {
  was_called_ = true;
  if (interrupts_ != nullptr && call_fd_ >= 0) interrupts_->add(1);
  if (call_fd_ >= 0 && eventfd_write(call_fd_, 1) != 0 && errno != EAGAIN) call_fd_ = -1;
}

// 2.6.7, 2.6.10: by the place of the next chain, which is behind the used ring, or by a flag.
void SplitVirtqueue::ask_for_kick() {
  if (!is_open()) return;
  if (has_event_index_) {
    auto* const event = static_cast<std::uint16_t*>(static_cast<void*>(elements() + mask_ + 1));
    virtio::store(*event, next_available_);
  } else {
    virtio::store(used_->flags, std::uint16_t{0});
  }
}

// With an event index the place is behind already: the guest kicks again after 65536 chains, or when asked.
void SplitVirtqueue::refuse_kicks() {
  if (is_open() && !has_event_index_) virtio::store(used_->flags, virtio::RingStart::kNoKick);
}

}  // namespace vmnat::dataplane
