// SPDX-License-Identifier: Apache-2.0
// The members of Virtqueue, for the files that instantiate it.
#pragma once

#include <algorithm>
#include <cerrno>
#include <memory>
#include <sys/eventfd.h>
#include <utility>

#include "dataplane/device/claims.h"
#include "dataplane/device/guest_copy.h"
#include "dataplane/device/offload.h"
#include "dataplane/device/virtqueue.h"
#include "dataplane/frame/new_frame.h"
#include "dataplane/frame/packet.h"

namespace vmnat::dataplane {

template <typename Ring>
struct Virtqueue<Ring>::Burst {
  unsigned count;
  Head heads[kMostFrames];
  Piece buffers[kMostFrames];
};

// What a call of take() may still do.
template <typename Ring>
struct Virtqueue<Ring>::Work {
  unsigned descriptors = kDescriptorsPerCall;
  std::uint32_t bytes = kBytesPerCall;
};

// Where a call of put() is, and what it may still do.
template <typename Ring>
struct Virtqueue<Ring>::Walk {
  const Burst& burst;
  Given& given;         // the chains of this call
  Place place;          // of the next chain, after find_place()
  unsigned unused = 0;  // of those given back, without a byte
  unsigned descriptors = kDescriptorsPerCall;
  std::uint64_t room = ~std::uint64_t{0};  // what no frame can be longer than:
  unsigned measured_at = 0;                // in the chain of this number, or with mergeable buffers in all
  bool has_seen_all = false;               // all of the ring is on offer, and was walked

  [[nodiscard]] unsigned done() const { return given.count; }
};

// The pieces of a chain of descriptors, one after another, none of them empty.
template <typename Ring>
class Virtqueue<Ring>::Chain {
 public:
  // Reads no more than `budget` descriptors, and takes what it reads off it.
  Chain(Virtqueue& queue, const Head& head, unsigned& budget)
      : queue_(queue), budget_(budget), steps_(queue.ring_, head) {}

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
    // An indirect descriptor does not count: its table may be as long as the ring (2.6.5.3.1, 2.7.7.1).
    if (steps_.is_broken() || read_ > std::min(queue_.ring_.size(), kLongestChain)) return break_off();
    if (budget_ == 0) return is_cut_short_ = true, false;
    --budget_;
    ++read_;
    ++queue_.descriptors_walked_;
    const auto descriptor = steps_.read();
    if (descriptor.is_indirect) return enter(descriptor);
    address_ = descriptor.address;
    left_ = descriptor.length;
    is_at_end_ = descriptor.is_last;
    return true;
  }
  // A table has none in turn.
  bool enter(const typename Ring::Steps::Descriptor& indirect) {
    std::uint64_t reach = 0;
    const std::byte* const table = queue_.memory_->find(indirect.address, reach);
    if (std::exchange(is_in_table_, true) || reach < indirect.length) return break_off();
    steps_.enter(table, indirect.length);
    return true;
  }

  Virtqueue& queue_;
  unsigned& budget_;
  typename Ring::Steps steps_;
  unsigned read_ = 0;
  std::uint64_t address_ = 0;
  std::uint32_t left_ = 0;
  bool is_in_table_ = false;
  bool is_at_end_ = false;
  bool is_broken_ = false;
  bool is_cut_short_ = false;
};

// Writes a frame, behind virtio's header, into the chains from the walk's place on. What it writes the guest does not
// look at before the chains are published: a frame that turns out not to fit is forgotten.
template <typename Ring>
class Virtqueue<Ring>::Writer {
 public:
  // `head`: of the chain at the walk's place.
  Writer(Virtqueue& queue, Walk& walk, const Head& head)
      : queue_(queue),
        walk_(walk),
        before_(walk.done()),
        head_(head),
        chain_(queue, head_, walk.descriptors) {}

  // False where the chains end, one of them is broken, or the budget is used up.
  bool write(rte_mbuf* frame) {
    if (!write_header(virtio_header_of(frame))) return false;
    for (const rte_mbuf* segment = frame; segment != nullptr; segment = segment->next)
      if (!write(data_of(segment), segment->data_len)) return false;
    note_chain();
    count_chains();
    walk_.place = queue_.ring_.after(head_);
    return true;
  }
  // Nothing of the frame is given back. Returns the chains that were full, or done with.
  unsigned forget() {
    walk_.given.count = before_;
    return chains_;
  }
  [[nodiscard]] std::uint64_t written() const { return written_before_ + written_; }
  [[nodiscard]] bool found_broken() const { return is_broken_; }
  [[nodiscard]] bool was_cut_short() const { return is_cut_short_ || chain_.is_cut_short(); }
  // All that the ring can hold was on offer, and too little.
  [[nodiscard]] bool has_seen_all() const {
    return seen_ + queue_.ring_.share_of(head_) == queue_.ring_.size();
  }

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
  bool write_header(const virtio::NetHeader& header) {
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
    *count_at_[0] = static_cast<std::byte>(chains_);
    *count_at_[1] = static_cast<std::byte>(chains_ >> 8);
  }
  // To the next chain.
  bool go_on() {
    if (chain_.is_cut_short()) return false;
    if (chain_.is_broken() || written_ == 0) return is_broken_ = true, false;
    if (walk_.given.is_full()) return is_cut_short_ = true, false;
    Head next;
    if (!queue_.is_mergeable_ || !queue_.ring_.read_head(queue_.ring_.after(head_), next)) return false;
    note_chain();
    seen_ += queue_.ring_.share_of(head_);
    head_ = next;
    std::construct_at(&chain_, queue_, head_, walk_.descriptors);
    return true;
  }
  void note_chain() {
    queue_.ring_.note(walk_.given, head_, written_, chains_ == 0);
    written_before_ += written_;
    written_ = 0;
    piece_ = {};
    ++chains_;
  }

  Virtqueue& queue_;
  Walk& walk_;
  const unsigned before_;  // chains given back
  Head head_;
  Chain chain_;
  Piece piece_{};
  std::byte* count_at_[2] = {nullptr, nullptr};
  unsigned chains_ = 0, seen_ = 0;
  std::uint32_t written_ = 0;  // to this chain
  std::uint64_t written_before_ = 0;
  bool is_broken_ = false, is_cut_short_ = false;
};

template <typename Ring>
Virtqueue<Ring>::Virtqueue(const VirtqueueLayout& layout, const GuestMemory& memory)
    : ring_(layout),
      memory_(&memory),
      header_length_((layout.features & (virtio::kMergeableBuffers | virtio::kVersion1)) != 0
                         ? sizeof(virtio::NetHeader)
                         : virtio::kShortNetHeader),
      is_mergeable_((layout.features & virtio::kMergeableBuffers) != 0),
      call_fd_(layout.call_fd),
      deferrals_(layout.deferrals),
      kick_fd_(layout.kick_fd),
      interrupts_(layout.interrupts) {}

template <typename Ring>
template <int is_written>
void Virtqueue<Ring>::look_at_buffers(Burst& burst) const {
  const GuestMemory& memory = *memory_;
  const unsigned count = burst.count;
  for (unsigned i = 0; i < count; ++i) {
    const Piece buffer = burst.buffers[i] = in_one_piece(memory, burst.heads[i]);
    if (buffer.at == nullptr) continue;
    __builtin_prefetch(buffer.at, is_written);
    __builtin_prefetch(buffer.at + 64, is_written);
  }
}

template <typename Ring>
typename Virtqueue<Ring>::Piece Virtqueue<Ring>::in_one_piece(const GuestMemory& memory,
                                                              const Head& head) const {
  std::uint64_t address = 0, reach = 0;
  std::uint32_t length = 0;
  if (!ring_.read_single(head, address, length)) return {};
  std::byte* const at = memory.find(address, reach);
  return reach < length ? Piece{} : Piece{at, length};
}

template <typename Ring>
std::uint16_t Virtqueue<Ring>::take(rte_mempool* pool, rte_mbuf** frames, std::uint16_t most) {
  if (!is_open()) return 0;
  Burst burst;
  ring_.begin_call();
  burst.count = ring_.look(burst.heads, std::min<unsigned>(most, kMostFrames));
  if (burst.count == 0 || !new_frames(pool, frames, burst.count)) return 0;
  look_at_buffers<0>(burst);
  Work work;
  Given given;
  unsigned taken = 0;
  for (; taken < burst.count; ++taken) {
    const Piece buffer = burst.buffers[taken];
    const bool fits =
        buffer.bytes > header_length_ && buffer.bytes - header_length_ <= rte_pktmbuf_tailroom(frames[taken]);
    if (fits)
      copy_out(buffer, frames[taken]);
    else if (!gather(burst.heads[taken], pool, frames[taken], work))
      break;
    ring_.note(given, burst.heads[taken], 0);
  }
  if (taken < burst.count) rte_pktmbuf_free_bulk(frames + taken, burst.count - taken);
  if (ring_.ran_out_of_budget()) defer();
  if (taken > 0) publish(given);
  return static_cast<std::uint16_t>(taken);
}

template <typename Ring>
void Virtqueue<Ring>::copy_out(Piece buffer, rte_mbuf* frame) const {
  const std::uint32_t length = buffer.bytes - header_length_;
  copy_frame(rte_pktmbuf_mtod(frame, std::byte*), buffer.at + header_length_, length);
  frame->data_len = static_cast<std::uint16_t>(length);
  frame->pkt_len = length;
  if (read_once<std::uint16_t>(buffer.at) != 0) mark_by_header(buffer.at, frame);
}

// The guest may have changed it meanwhile: what is read now holds.
template <typename Ring>
void Virtqueue<Ring>::mark_by_header(const std::byte* at, rte_mbuf* frame) {
  // The short one's bytes, which every header has: the number of buffers is for received frames.
  virtio::NetHeader header{};
  std::memcpy(static_cast<void*>(&header), at, virtio::kShortNetHeader);
  std::atomic_signal_fence(std::memory_order_seq_cst);  // read once
  if ((header.flags | header.segmentation) != 0) mark_unfinished(frame, header);
}

// False when it has to wait for the next call: without buffers for all of it, or when this one has done
// enough.
template <typename Ring>
bool Virtqueue<Ring>::gather(const Head& head, rte_mempool* pool, rte_mbuf* frame, Work& work) {
  if (work.bytes == 0) return defer(), false;
  virtio::NetHeader header{};
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

template <typename Ring>
Transmission Virtqueue<Ring>::put(rte_mbuf* const* frames, std::uint16_t count) {
  if (!is_open()) return {};
  const unsigned most = std::min<unsigned>(count, kMostFrames);
  Burst burst;
  ring_.begin_call();
  burst.count = ring_.look(burst.heads, most);
  if (burst.count == 0) return {};
  look_at_buffers<1>(burst);
  Transmission result;
  Given given;
  Walk walk{.burst = burst, .given = given, .place = ring_.start()};
  for (unsigned i = 0; i < most; ++i) {
    rte_mbuf* const frame = frames[i];
    const std::uint32_t length = header_length_ + frame->pkt_len;
    const bool is_plain = frame->nb_segs == 1 && (frame->ol_flags & kTransmitMarks) == 0;
    const unsigned done = walk.done();
    Fit fit = Fit::Written;
    if (is_plain && done < burst.count && length <= burst.buffers[done].bytes) {
      copy_in(frame, burst.buffers[done].at);
      ring_.note(walk.given, burst.heads[done], length);
    } else {
      fit = scatter(frame, walk);
    }
    if (fit == Fit::Written)
      result.sent.add(i);
    else if (fit == Fit::TooLong)
      result.too_long.add(i);
    else if (is_over(walk))
      break;
  }
  find_place(walk);
  if (ring_.ran_out_of_budget() || (walk.descriptors == 0 && ring_.holds(walk.place))) defer();
  if (walk.done() > 0) publish(given);
  return result;
}

template <typename Ring>
void Virtqueue<Ring>::copy_in(const rte_mbuf* frame, std::byte* buffer) const {
  const virtio::NetHeader header{.buffers = 1};
  if (header_length_ == sizeof header)
    copy_block<sizeof header>(buffer, static_cast<const std::byte*>(static_cast<const void*>(&header)));
  else
    std::memset(buffer, 0, virtio::kShortNetHeader);
  copy_frame(buffer + header_length_, data_of(frame), frame->pkt_len);
}

// A frame that is not in one piece, or does not fit into one, or needs a header. A chain that is broken, or
// too short for any frame, would stand in the way for ever: it goes back unused, with those that were to be
// filled before it.
template <typename Ring>
typename Virtqueue<Ring>::Fit Virtqueue<Ring>::scatter(rte_mbuf* frame, Walk& walk) {
  const std::uint32_t needed = header_length_ + frame->pkt_len;
  find_place(walk);
  if (!is_over(walk)) walk.descriptors += kDescriptorsPerFrame + needed / kBytesPerDescriptor;
  for (Head head; walk.descriptors > 0 && ring_.read_head(walk.place, head);) {
    const bool is_measured = is_mergeable_ || walk.measured_at == walk.done();
    if (is_measured && needed > walk.room) break;
    Writer writer(*this, walk, head);
    if (writer.write(frame)) {
      walk.room -= std::min<std::uint64_t>(walk.room, needed);
      return Fit::Written;
    }
    const unsigned chains = writer.forget();
    if (writer.was_cut_short()) return Fit::Full;
    walk.room = writer.written();
    walk.measured_at = walk.done();
    walk.has_seen_all = walk.done() == 0 && writer.has_seen_all();
    const std::uint32_t least = header_length_ + (is_mergeable_ ? 0 : kShortestFrame);
    if (writer.found_broken() || walk.room < least) {
      give_back_unused(walk, chains + 1);
      walk.room = ~std::uint64_t{0};
    }
  }
  if (ring_.ran_out_of_budget()) walk.descriptors = 0;
  const bool has_seen_all = walk.done() == 0 && walk.has_seen_all;
  return !is_over(walk) && (!is_mergeable_ || has_seen_all) ? Fit::TooLong : Fit::Full;
}

// Beyond the burst's chains it is known already.
template <typename Ring>
void Virtqueue<Ring>::find_place(Walk& walk) const {
  if (walk.done() > 0 && walk.done() <= walk.burst.count)
    walk.place = ring_.after(walk.burst.heads[walk.done() - 1]);
}

// A burst's worth at most in a call.
template <typename Ring>
void Virtqueue<Ring>::give_back_unused(Walk& walk, unsigned chains) {
  Head head;
  for (; chains > 0 && walk.unused < kMostFrames && ring_.read_head(walk.place, head);
       --chains, ++walk.unused) {
    ring_.note(walk.given, head, 0);
    walk.place = ring_.after(head);
  }
  if (walk.unused == kMostFrames) walk.descriptors = 0;
}

// The guest may ask to be called meanwhile, so what is given back is visible before that is read.
template <typename Ring>
void Virtqueue<Ring>::publish(const Given& given) {
  const unsigned moved = ring_.publish(given);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (ring_.wants_call(moved, was_called_)) call_guest();
}

// Never waits: control has made the descriptor so. A full one has been heard of already. One that fails in
// another way, such as a pipe that nobody reads any more, is left alone.
template <typename Ring>
void Virtqueue<Ring>::call_guest() {
  was_called_ = true;
  if (interrupts_ != nullptr && call_fd_ >= 0) interrupts_->add(1);
  if (call_fd_ >= 0 && eventfd_write(call_fd_, 1) != 0 && errno != EAGAIN) call_fd_ = -1;
}

}  // namespace vmnat::dataplane
