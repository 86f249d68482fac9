// SPDX-License-Identifier: Apache-2.0
#include "control/slow_path/punt_reader.h"

#include <cstring>
#include <iterator>
#include <rte_mbuf.h>

namespace vmnat::control {
namespace {

// The whole frame in one piece.
void copy_out(const rte_mbuf* frame, FrameBytes& bytes) {
  bytes.resize(frame->pkt_len);
  const void* start = rte_pktmbuf_read(frame, 0, frame->pkt_len, bytes.data());
  if (start != nullptr && start != bytes.data()) std::memcpy(bytes.data(), start, bytes.size());
}

}  // namespace

unsigned PuntReader::take_punts(const TakePunt& take) {
  unsigned taken = 0;
  for (ControlRings& rings : rings_)
    while (const unsigned count = take_burst(rings.uplink_punt, take)) taken += count;
  for (unsigned before = taken + 1; before != taken && taken < kPunts;) {
    before = taken;
    for (ControlRings& rings : rings_) taken += take_burst(rings.punt, take);
  }
  return taken;
}

unsigned PuntReader::take_burst(dataplane::FrameRing& ring, const TakePunt& take) {
  rte_mbuf* frames[32];
  const unsigned count = ring.pop(frames, std::size(frames));
  for (unsigned i = 0; i < count; ++i) {
    copy_out(frames[i], bytes_);
    take(dataplane::note_of(frames[i]), bytes_);
  }
  rte_pktmbuf_free_bulk(frames, count);
  return count;
}

unsigned PuntReader::take_learned(const TakeLearned& take) {
  unsigned taken = 0;
  for (ControlRings& rings : rings_) {
    dataplane::LearnedMac learned{};
    for (unsigned i = 0; i < kLearned && rings.learn.pop(learned); ++i, ++taken) take(learned);
  }
  return taken;
}

}  // namespace vmnat::control
