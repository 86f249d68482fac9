// SPDX-License-Identifier: Apache-2.0
// Writing side of TagIndex: insertion with a bounded breadth-first search for room, and erasure.
#include "conntrack/tag_index.h"

namespace vmnat::conntrack {
namespace {

// More fits (97 %), but each new entry then moves others: at 94 % opening a session took twice as long, for
// 3 bytes less.
constexpr std::uint64_t kFillPercent = 80;
constexpr unsigned kMaxSteps = 64;
constexpr unsigned kMaxMoves = 3;
constexpr std::uint32_t kOverflowOne = 1u << 24;
constexpr std::uint32_t kOverflowCount = 0xffu << 24;

}  // namespace

// One bucket that the search for room has reached: entry `entry` of `parent`'s bucket could move here.
struct TagIndex::Step {
  std::uint32_t bucket;
  std::uint16_t parent;
  std::uint8_t entry;
  std::uint8_t moves;  // from a bucket of the new entry to here
};

TagIndex::TagIndex(std::uint64_t entries, Placement placement)
    : bucket_count_(static_cast<std::uint32_t>(entries * 100 / (kFillPercent * kBucketEntries) + 2)) {
  buckets_ = ReservedArray<Bucket>(bucket_count_, placement);
}

int TagIndex::free_entry(std::uint32_t bucket) const {
  const std::uint32_t bits = matches(bucket, 0);
  return bits == 0 ? -1 : __builtin_ctz(bits) / 2;
}

void TagIndex::put(std::uint32_t bucket, unsigned entry, std::uint16_t tag, std::uint32_t value) {
  buckets_[bucket].values[entry] = value;
  buckets_[bucket].tags[entry] = tag;
}

void TagIndex::clear(std::uint32_t bucket, unsigned entry) {
  buckets_[bucket].tags[entry] = 0;
}

// 255 entries moved out of one bucket do not happen by chance; the count then stays and so does the filter.
void TagIndex::add_overflow(std::uint32_t bucket, std::uint16_t tag) {
  std::uint32_t& overflow = buckets_[bucket].overflow;
  if ((overflow & kOverflowCount) != kOverflowCount) overflow += kOverflowOne;
  overflow |= filter_bit(tag);
}

void TagIndex::remove_overflow(std::uint32_t bucket) {
  std::uint32_t& overflow = buckets_[bucket].overflow;
  if ((overflow & kOverflowCount) == kOverflowCount) return;
  overflow -= kOverflowOne;
  if ((overflow & kOverflowCount) == 0) overflow = 0;
}

void TagIndex::move(std::uint32_t from, unsigned entry, std::uint32_t to, unsigned free_entry) {
  const std::uint16_t tag = buckets_[from].tags[entry];
  const std::uint32_t value = buckets_[from].values[entry];
  put(to, free_entry, tag, value ^ kSecondary);
  clear(from, entry);
  if (value & kSecondary)
    remove_overflow(to);  // back home
  else
    add_overflow(from, tag);
}

bool TagIndex::put_at_home(Place place, std::uint32_t value) {
  if (const int entry = free_entry(place.bucket); entry >= 0) {
    put(place.bucket, static_cast<unsigned>(entry), place.tag, value);
    return true;
  }
  const std::uint32_t other = other_bucket(place.bucket, place.tag);
  const int entry = free_entry(other);
  if (entry < 0) return false;
  add_overflow(place.bucket, place.tag);
  put(other, static_cast<unsigned>(entry), place.tag, value | kSecondary);
  return true;
}

// `last` names the entry that moves into `free_entry`; each step before it then moves one bucket further.
void TagIndex::shift_along(const Step* steps, Step last, unsigned free_entry) {
  for (;;) {
    const Step& from = steps[last.parent];
    move(from.bucket, last.entry, last.bucket, free_entry);
    if (from.moves == 0) return;
    free_entry = last.entry;
    last = from;
  }
}

// Breadth first over the buckets that entries could move to, at most three moves deep: a longer path could
// meet one entry twice. At 80 % fill three buckets of four have room, so the bound is far away.
bool TagIndex::make_room(Place place) {
  std::array<Step, kMaxSteps> steps;
  steps[0] = {place.bucket, 0, 0, 0};
  steps[1] = {other_bucket(place.bucket, place.tag), 0, 0, 0};
  unsigned reached = 2;
  for (unsigned at = 0; at < reached; ++at)
    for (std::uint8_t entry = 0; entry < kBucketEntries; ++entry) {
      const std::uint32_t bucket = steps[at].bucket;
      const std::uint32_t next = other_bucket(bucket, buckets_[bucket].tags[entry]);
      if (next == bucket) continue;
      const Step step{next, static_cast<std::uint16_t>(at), entry,
                      static_cast<std::uint8_t>(steps[at].moves + 1)};
      if (const int free = free_entry(next); free >= 0) {
        shift_along(steps.data(), step, static_cast<unsigned>(free));
        return true;
      }
      if (reached < kMaxSteps && step.moves < kMaxMoves) steps[reached++] = step;
    }
  return false;
}

bool TagIndex::insert(Place place, std::uint32_t value) {
  if (!put_at_home(place, value) && !(make_room(place) && put_at_home(place, value))) return false;
  ++size_;
  return true;
}

bool TagIndex::erase(Place place, std::uint32_t value) {
  const std::array buckets{place.bucket, other_bucket(place.bucket, place.tag)};
  for (const std::uint32_t bucket : buckets) {
    for (std::uint32_t bits = matches(bucket, place.tag); bits != 0; bits &= bits - 1) {
      const auto entry = static_cast<unsigned>(__builtin_ctz(bits)) / 2;
      if (value_at(bucket, entry) != value) continue;
      if (buckets_[bucket].values[entry] & kSecondary) remove_overflow(place.bucket);
      clear(bucket, entry);
      --size_;
      return true;
    }
  }
  return false;
}

bool TagIndex::check_invariants() const {
  std::uint64_t entries = 0;
  std::uint64_t secondary = 0;
  std::uint64_t overflowed = 0;
  for (std::uint32_t bucket = 0; bucket < bucket_count_; ++bucket) {
    const Bucket& at = buckets_[bucket];
    overflowed += at.overflow >> 24;
    for (unsigned entry = 0; entry < kBucketEntries; ++entry) {
      if (at.tags[entry] == 0) continue;
      ++entries;
      if ((at.values[entry] & kSecondary) == 0) continue;
      ++secondary;
      const Place home{other_bucket(bucket, at.tags[entry]), at.tags[entry]};
      if (!may_overflow(home)) return false;
    }
  }
  return entries == size_ && secondary == overflowed;
}

}  // namespace vmnat::conntrack
