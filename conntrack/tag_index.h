// SPDX-License-Identifier: Apache-2.0
// TagIndex: from a hash to 31-bit values, two candidate buckets of one cache line each.
//
// Theory of operation. A bucket holds ten entries: a 16-bit tag of the hash and a 32-bit value. An entry
// lives in its primary bucket or in the other one, which follows from (this bucket, tag) alone in both
// directions (partial-key cuckoo): other = spread(tag) - this, modulo any number of buckets, so the index
// has exactly the size that was asked for. A lookup compares ten tags at once and reads a session only on
// a match (false once in 3000 lookups). `overflow` says of a primary bucket which tags had to move out
// (24 bits, a filter, and how many): a miss therefore reads one cache line, not two, unless a bit is set.
//
//   | 10 tags 20 | overflow filter 3, count 1 | 10 values 40: 1 secondary, 31 value |
//
// Memory: 6.4 bytes an entry when full; insertion succeeds beyond 97 % (tests/conntrack). One thread's alone.
#pragma once

#include <array>
#include <cstdint>
#include <immintrin.h>

#include "base/fibonacci_hash.h"
#include "conntrack/reserved_array.h"

namespace vmnat::conntrack {

class TagIndex {
 public:
  static constexpr unsigned kBucketEntries = 10;
  static constexpr std::uint32_t kNothing = 0xffff'ffff;
  static constexpr std::uint32_t kValueMask = 0x7fff'ffff;

  struct alignas(64) Bucket {
    std::array<std::uint16_t, kBucketEntries> tags;  // 0: no entry
    std::uint32_t overflow;
    std::array<std::uint32_t, kBucketEntries> values;
  };
  static_assert(sizeof(Bucket) == 64 && offsetof(Bucket, overflow) == 20 && offsetof(Bucket, values) == 24);

  struct Place {  // where a hash belongs
    std::uint32_t bucket;
    std::uint16_t tag;
  };

  TagIndex() = default;
  explicit TagIndex(std::uint64_t entries, Placement placement = {Pages::Huge});  // at a fill of 80 %
  [[nodiscard]] bool reserved() const { return buckets_.reserved(); }

  [[nodiscard]] Place place_of(std::uint64_t hash) const {
    const auto tag = static_cast<std::uint16_t>(hash);
    return {scaled(static_cast<std::uint32_t>(hash >> 32)), tag == 0 ? std::uint16_t{1} : tag};
  }
  [[nodiscard]] std::uint32_t other_bucket(std::uint32_t bucket, std::uint16_t tag) const {
    const std::uint32_t spread = scaled(fibonacci_hash(tag));
    return spread >= bucket ? spread - bucket : spread + bucket_count_ - bucket;
  }
  void prefetch(std::uint32_t bucket) const { __builtin_prefetch(&buckets_[bucket]); }
  // For an insertion, once the primary bucket is in the cache: the other one is needed when the primary is
  // full.
  void prefetch_room(Place place) const {
    if (matches(place.bucket, 0) == 0) prefetch(other_bucket(place.bucket, place.tag));
  }

  // One bit for each entry of the bucket with this tag: entry i at bit 2 i.
  [[nodiscard]] std::uint32_t matches(std::uint32_t bucket, std::uint16_t tag) const {
    return match_bits(buckets_[bucket], tag);
  }
  // False: no entry with this tag and this primary bucket stands in the other bucket.
  [[nodiscard]] bool may_overflow(Place place) const {
    return (buckets_[place.bucket].overflow & filter_bit(place.tag)) != 0;
  }
  [[nodiscard]] std::uint32_t value_at(std::uint32_t bucket, unsigned entry) const {
    return buckets_[bucket].values[entry] & kValueMask;
  }

  // The value of the first entry with the place's tag for which `is_it(value)` holds, or kNothing.
  template <typename Predicate>
  [[nodiscard]] std::uint32_t find(Place place, Predicate is_it) const {
    const std::uint32_t value = find_in(place.bucket, place.tag, is_it);
    if (value != kNothing || !may_overflow(place)) return value;
    return find_in(other_bucket(place.bucket, place.tag), place.tag, is_it);
  }

  // False: the bounded search has found no room. The value must not be there yet.
  bool insert(Place place, std::uint32_t value);
  // False: there is no such entry.
  bool erase(Place place, std::uint32_t value);

  [[nodiscard]] std::size_t memory_used() const { return buckets_.memory_used(); }
  // The pages that are touched soon. After the first insertion all of them: each insertion touches a page
  // anywhere, so that some hundreds touch all. Before it, as much as a table of a million sessions needs.
  [[nodiscard]] Extent touched_soon(std::uint64_t insertions) const {
    constexpr std::size_t kFromStart = 18u << 20;  // 2 M entries
    return buckets_.front(insertions == 0 ? kFromStart : SIZE_MAX);
  }
  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] std::uint64_t capacity() const { return std::uint64_t{bucket_count_} * kBucketEntries; }
  // Counts the entries and checks that each overflow count is exact. O(capacity); for tests and debugging.
  [[nodiscard]] bool check_invariants() const;

 private:
  static constexpr std::uint32_t kSecondary = 0x8000'0000;
  static constexpr std::uint32_t kEvenBits = 0x5'5555;  // one bit for each of ten 16-bit lanes
  struct Step;

  [[nodiscard]] std::uint32_t scaled(std::uint32_t random) const {
    return scaled_below(bucket_count_, random);
  }
  static std::uint32_t filter_bit(std::uint16_t tag) { return 1u << ((tag * 24u) >> 16); }
  static std::uint32_t match_bits(const Bucket& bucket, std::uint16_t tag) {
#ifdef __AVX2__
    const __m256i head = _mm256_load_si256(reinterpret_cast<const __m256i*>(&bucket));
    const __m256i equal = _mm256_cmpeq_epi16(head, _mm256_set1_epi16(static_cast<short>(tag)));
    return static_cast<std::uint32_t>(_mm256_movemask_epi8(equal)) & kEvenBits;
#else
    return scalar_match_bits(bucket, tag);
#endif
  }
  static std::uint32_t scalar_match_bits(const Bucket& bucket, std::uint16_t tag) {
    std::uint32_t bits = 0;
    for (unsigned i = 0; i < kBucketEntries; ++i) bits |= std::uint32_t{bucket.tags[i] == tag} << (2 * i);
    return bits;
  }
  template <typename Predicate>
  [[nodiscard]] std::uint32_t find_in(std::uint32_t bucket, std::uint16_t tag, Predicate& is_it) const {
    for (std::uint32_t bits = matches(bucket, tag); bits != 0; bits &= bits - 1) {
      const std::uint32_t value = value_at(bucket, static_cast<unsigned>(__builtin_ctz(bits)) / 2);
      if (is_it(value)) return value;
    }
    return kNothing;
  }

  void put(std::uint32_t bucket, unsigned entry, std::uint16_t tag, std::uint32_t value);
  void clear(std::uint32_t bucket, unsigned entry);
  void add_overflow(std::uint32_t bucket, std::uint16_t tag);
  void remove_overflow(std::uint32_t bucket);
  void move(std::uint32_t from, unsigned entry, std::uint32_t to, unsigned free_entry);
  [[nodiscard]] int free_entry(std::uint32_t bucket) const;
  bool put_at_home(Place place, std::uint32_t value);
  bool make_room(Place place);
  void shift_along(const Step* steps, Step last, unsigned free_entry);

  ReservedArray<Bucket> buckets_;
  std::uint32_t bucket_count_ = 0;
  std::uint64_t size_ = 0;
};

}  // namespace vmnat::conntrack
