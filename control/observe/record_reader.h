// SPDX-License-Identifier: Apache-2.0
// RecordReader: the records of all workers for one observer, the oldest of those that are there first. A worker that
// is slow to publish may come late with what it has seen.
#pragma once

#include <utility>

#include "control/observe/observers.h"

namespace vmnat::control {

class RecordReader {
 public:
  explicit RecordReader(const dataplane::Observation& observation) : observation_(observation) {}

  // The next one, good until the call after; nullptr: there is none now.
  const dataplane::Record* next() {
    using dataplane::Record;
    if (last_ != nullptr) std::exchange(last_, nullptr)->release();
    const Record* oldest = nullptr;
    for (const auto& ring : observation_.rings) {
      const Record* record = ring->next();
      for (; record != nullptr && record->sight == dataplane::Sight::Nothing; record = ring->next())
        ring->release();
      if (record == nullptr || (oldest != nullptr && oldest->tsc <= record->tsc)) continue;
      oldest = record;
      last_ = ring.get();
    }
    return oldest;
  }

 private:
  const dataplane::Observation& observation_;
  dataplane::RecordRing* last_ = nullptr;  // that the record which was given is in
};

}  // namespace vmnat::control
