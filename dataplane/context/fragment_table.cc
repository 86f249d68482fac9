// SPDX-License-Identifier: Apache-2.0
#include "dataplane/context/fragment_table.h"

#include <algorithm>

namespace vmnat::dataplane {

DatagramKey DatagramKey::of(const net::Ipv4Header& ip, PortIndex port, Direction direction) {
  return {.addresses = ip.source.raw() | std::uint64_t{ip.destination.raw()} << 32,
          .rest = ip.identification.raw() | std::uint64_t{ip.protocol_number} << 16 |
                  std::uint64_t{static_cast<std::uint8_t>(direction)} << 24 | std::uint64_t{port} << 32};
}

void FragmentTable::share_among(std::size_t ports) {
  datagram_places_.share_among(ports, settings_.most_ports,
                               [this](std::size_t port) { return shares_[port].datagrams; });
  frame_places_.share_among(ports, settings_.most_ports,
                            [this](std::size_t port) { return shares_[port].frames; });
}

FragmentTable::Verdict FragmentTable::admit_first(const Piece& piece, const Lead& lead, Time now) {
  Datagram* datagram = find_or_add(piece, now);
  if (datagram == nullptr) return {Fate::Refused, DropReason::FragmentStoreFull};
  if (const Coverage coverage = cover(*datagram, piece); coverage != Coverage::New)
    return refuse(*datagram, coverage);
  datagram->state = State::Led;
  datagram->lead = lead;
  release_held(*datagram);
  if (is_complete(*datagram)) forget(*datagram, {});
  return {Fate::Pass, {}, lead};
}

FragmentTable::Verdict FragmentTable::admit_later(const Piece& piece, rte_mbuf* frame, Time now) {
  Datagram* datagram = find_or_add(piece, now);
  if (datagram == nullptr) return {Fate::Refused, DropReason::FragmentStoreFull};
  if (const Coverage coverage = cover(*datagram, piece); coverage != Coverage::New)
    return refuse(*datagram, coverage);
  if (datagram->state == State::Waiting) return hold(*datagram, piece, frame);
  const Lead lead = datagram->lead;
  if (is_complete(*datagram)) forget(*datagram, {});
  return {Fate::Pass, {}, lead};
}

void FragmentTable::condemn(const Piece& piece, DropReason reason, Time now) {
  if (Datagram* datagram = find_or_add(piece, now)) condemn(*datagram, reason);
}

unsigned FragmentTable::take_released(rte_mbuf** frames, unsigned most) {
  unsigned count = 0;
  while (count < most && has_released()) {
    frames[count++] = held_[first_released_].frame;
    first_released_ = free_held(first_released_);
  }
  if (!has_released()) last_released_ = kNone;
  return count;
}

void FragmentTable::clear() {
  for (rte_mbuf* frame = nullptr; take_released(&frame, 1) == 1;) rte_pktmbuf_free(frame);
  for (std::size_t port = 0; port < settings_.most_ports; ++port)
    for (Index at = shares_[port].oldest; at != kNone; at = datagrams_[at].newer)
      for (Index& held = datagrams_[at].first_held; held != kNone; held = free_held(held))
        rte_pktmbuf_free(held_[held].frame);
}

FragmentTable::Index& FragmentTable::bucket_of(const DatagramKey& key) {
  return buckets_[hash_(FlowKey{key.addresses, key.rest}) & bucket_mask_];
}

// The datagram, now its port's newest; nullptr when there is no room for a new one.
FragmentTable::Datagram* FragmentTable::find_or_add(const Piece& piece, Time now) {
  Datagram* datagram = nullptr;
  for (Index at = bucket_of(piece.key); at != kNone && datagram == nullptr; at = datagrams_[at].next)
    if (datagrams_[at].key == piece.key) datagram = &datagrams_[at];
  if (datagram == nullptr)
    datagram = add(piece);
  else
    unlink(*datagram);
  if (datagram == nullptr) return nullptr;
  link_newest(*datagram);
  datagram->last_seen = now;
  return datagram;
}

FragmentTable::Datagram* FragmentTable::add(const Piece& piece) {
  const Share& share = shares_[piece.port];
  if (share.oldest != kNone &&
      (share.datagrams >= quota_of(piece.port).datagrams || !datagram_places_.has_room_for(share.datagrams)))
    forget(datagrams_[share.oldest], DropReason::FragmentQuota);
  if (free_datagram_ == kNone) return nullptr;
  const Index index = free_datagram_;
  Datagram& datagram = datagrams_[index];
  free_datagram_ = datagram.next;
  ports_seen_ = std::max<std::size_t>(ports_seen_, piece.port + 1u);
  datagram = {};
  datagram.key = piece.key;
  datagram.port = piece.port;
  Index& bucket = bucket_of(piece.key);
  datagram.next = bucket;
  bucket = index;
  ++in_use_;
  return &datagram;
}

FragmentTable::Verdict FragmentTable::refuse(Datagram& datagram, Coverage coverage) {
  if (coverage == Coverage::Duplicate) return {Fate::Refused, DropReason::FragmentDuplicate};
  if (datagram.state != State::Condemned)
    condemn(datagram,
            coverage == Coverage::Overlap ? DropReason::FragmentOverlap : DropReason::FragmentScattered);
  return {Fate::Refused, datagram.fault};
}

// Of a condemned datagram, every fragment overlaps.
FragmentTable::Coverage FragmentTable::cover(Datagram& datagram, const Piece& piece) {
  if (datagram.state == State::Condemned) return Coverage::Overlap;
  for (unsigned i = 0; i < datagram.runs; ++i) {
    const Run& run = datagram.run[i];
    if (piece.begin >= run.begin && piece.end <= run.end) return Coverage::Duplicate;
    if (piece.begin < run.end && run.begin < piece.end) return Coverage::Overlap;
  }
  const std::uint16_t highest = datagram.runs == 0 ? 0 : datagram.run[datagram.runs - 1].end;
  if (datagram.end != 0 && (piece.is_last || piece.end > datagram.end)) return Coverage::Overlap;
  if (piece.is_last && highest > piece.end) return Coverage::Overlap;
  const Coverage coverage = insert_run(datagram, {piece.begin, piece.end});
  if (coverage == Coverage::New && piece.is_last) datagram.end = piece.end;
  return coverage;
}

FragmentTable::Coverage FragmentTable::insert_run(Datagram& datagram, Run run) {
  auto* const begin = datagram.run.begin();
  auto* end = begin + datagram.runs;
  auto* at = std::find_if(begin, end, [&](const Run& other) { return other.begin >= run.end; });
  const bool joins_next = at != end && at->begin == run.end;
  const bool joins_previous = at != begin && (at - 1)->end == run.begin;
  if (joins_next && joins_previous) {
    (at - 1)->end = at->end;
    std::move(at + 1, end, at);
    --datagram.runs;
  } else if (joins_next) {
    at->begin = run.begin;
  } else if (joins_previous) {
    (at - 1)->end = run.end;
  } else {
    if (datagram.runs == kRuns) return Coverage::Scattered;
    std::move_backward(at, end, end + 1);
    *at = run;
    ++datagram.runs;
  }
  return Coverage::New;
}

FragmentTable::Verdict FragmentTable::hold(Datagram& datagram, const Piece& piece, rte_mbuf* frame) {
  if (!make_room_for_frame(datagram, frame->nb_segs)) {
    condemn(datagram, DropReason::FragmentQuota);
    return {Fate::Refused, DropReason::FragmentQuota};
  }
  const Index index = free_held_;
  free_held_ = held_[index].next;
  held_[index] = {.frame = frame, .port = piece.port, .next = kNone};
  note_of(frame) = {.port = piece.port,
                    .errand = piece.direction == Direction::Outbound ? FrameNote::Errand::ReleasedOutbound
                                                                     : FrameNote::Errand::ReleasedInbound};
  (datagram.last_held == kNone ? datagram.first_held : held_[datagram.last_held].next) = index;
  datagram.last_held = index;
  Share& share = shares_[piece.port];
  share.buffers = static_cast<std::uint16_t>(share.buffers + frame->nb_segs);
  frame_places_.take(share.frames++);
  count_held(1);
  return {Fate::Held};
}

// `keep` is its port's newest.
bool FragmentTable::make_room_for_frame(const Datagram& keep, unsigned buffers) {
  const Share& share = shares_[keep.port];
  const auto has_room = [&] {
    return frame_places_.has_room_for(share.frames) && share.buffers + buffers <= quota_of(keep.port).buffers;
  };
  while (!has_room() && share.oldest != index_of(keep))
    forget(datagrams_[share.oldest], DropReason::FragmentQuota);
  return has_room();
}

void FragmentTable::release_held(Datagram& datagram) {
  if (datagram.first_held == kNone) return;
  for (Index at = datagram.first_held; at != kNone; at = held_[at].next) {
    rte_mbuf* frame = held_[at].frame;
    datagram.lead.write(note_of(frame));
    Share& share = shares_[datagram.port];
    share.buffers = static_cast<std::uint16_t>(share.buffers - frame->nb_segs);
    count_held(-1);
  }
  (last_released_ == kNone ? first_released_ : held_[last_released_].next) = datagram.first_held;
  last_released_ = datagram.last_held;
  datagram.first_held = datagram.last_held = kNone;
}

void FragmentTable::drop_held(Datagram& datagram, DropReason reason) {
  for (Index at = datagram.first_held; at != kNone; at = free_held(at)) {
    rte_mbuf* frame = held_[at].frame;
    Share& share = shares_[datagram.port];
    share.buffers = static_cast<std::uint16_t>(share.buffers - frame->nb_segs);
    count_held(-1);
    counters_.drop(frame, datagram.port, reason);
  }
  datagram.first_held = datagram.last_held = kNone;
}

void FragmentTable::condemn(Datagram& datagram, DropReason reason) {
  drop_held(datagram, reason);
  datagram.state = State::Condemned;
  datagram.fault = reason;
}

// `reason` is that of the frames that still wait, if any.
void FragmentTable::forget(Datagram& datagram, DropReason reason) {
  drop_held(datagram, reason);
  unlink(datagram);
  const Index index = index_of(datagram);
  Index* at = &bucket_of(datagram.key);
  while (*at != index) at = &datagrams_[*at].next;
  *at = datagram.next;
  datagram.next = free_datagram_;
  free_datagram_ = index;
  --in_use_;
}

void FragmentTable::link_newest(Datagram& datagram) {
  Share& share = shares_[datagram.port];
  datagram.older = share.newest;
  datagram.newer = kNone;
  (share.newest == kNone ? share.oldest : datagrams_[share.newest].newer) = index_of(datagram);
  share.newest = index_of(datagram);
  datagram_places_.take(share.datagrams++);
}

void FragmentTable::unlink(Datagram& datagram) {
  Share& share = shares_[datagram.port];
  (datagram.older == kNone ? share.oldest : datagrams_[datagram.older].newer) = datagram.newer;
  (datagram.newer == kNone ? share.newest : datagrams_[datagram.newer].older) = datagram.older;
  datagram_places_.give_back(--share.datagrams);
}

void FragmentTable::expire_some(Time now) {
  unsigned budget = kExpiredPerCall;
  for (unsigned ports = 0; ports < kPortsPerCall && budget != 0; ++ports) {
    budget = expire_port(next_to_expire_, now, budget);
    if (budget != 0) next_to_expire_ = static_cast<PortIndex>((next_to_expire_ + 1u) % ports_seen_);
  }
}

// Returns what is left of the budget.
unsigned FragmentTable::expire_port(PortIndex port, Time now, unsigned budget) {
  const Share& share = shares_[port];
  while (budget != 0 && share.oldest != kNone) {
    Datagram& oldest = datagrams_[share.oldest];
    if (now - oldest.last_seen < kPatience) break;
    forget(oldest, DropReason::FragmentTimeout);
    --budget;
  }
  return budget;
}

// Returns what came after it.
FragmentTable::Index FragmentTable::free_held(Index held) {
  const Index next = held_[held].next;
  frame_places_.give_back(--shares_[held_[held].port].frames);
  held_[held].next = free_held_;
  free_held_ = held;
  return next;
}

void FragmentTable::count_held(int change) {
  frames_held_ += static_cast<unsigned>(change);
  counters_.fragments_held.set(frames_held_);
}

}  // namespace vmnat::dataplane
