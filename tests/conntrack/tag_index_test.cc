// SPDX-License-Identifier: Apache-2.0
// The index against a plain map, to the last free entry, and under chosen keys.
#include "conntrack/tag_index.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <random>
#include <unordered_map>
#include <vector>

#include "conntrack/hash.h"

namespace vmnat::conntrack {
namespace {

std::uint32_t find_value(const TagIndex& index, std::uint64_t hash, std::uint32_t value) {
  return index.find(index.place_of(hash), [&](std::uint32_t found) { return found == value; });
}

TEST(TagIndex, HoldsWhatAMapHoldsThroughAMillionOperations) {
  TagIndex index(20000);
  std::unordered_map<std::uint32_t, std::uint64_t> model;
  std::vector<std::uint32_t> values;
  std::mt19937_64 random(3);
  std::uint32_t next = 0;
  for (unsigned step = 0; step < 1'000'000; ++step) {
    if (values.size() < 20000 && (values.empty() || random() % 100 < 52)) {
      const std::uint64_t hash = random();
      ASSERT_TRUE(index.insert(index.place_of(hash), next)) << values.size();
      model[next] = hash;
      values.push_back(next++);
      continue;
    }
    const std::size_t at = random() % values.size();
    std::swap(values[at], values.back());
    const std::uint32_t value = values.back();
    ASSERT_EQ(find_value(index, model[value], value), value);
    ASSERT_TRUE(index.erase(index.place_of(model[value]), value));
    ASSERT_EQ(find_value(index, model[value], value), TagIndex::kNothing);
    model.erase(value);
    values.pop_back();
  }
  EXPECT_EQ(index.size(), model.size());
  for (const auto& [value, hash] : model) ASSERT_EQ(find_value(index, hash, value), value);
  EXPECT_TRUE(index.check_invariants());
}

TEST(TagIndex, FillsToNinetySevenPercentBeforeAnInsertionFails) {
  for (const std::uint64_t seed : {1, 2, 3, 4, 5}) {
    TagIndex index(1'000'000);
    std::mt19937_64 random(seed);
    std::uint32_t value = 0;
    while (index.insert(index.place_of(random()), value)) ++value;
    EXPECT_EQ(index.size(), value);
    EXPECT_GT(static_cast<double>(index.size()), 0.97 * static_cast<double>(index.capacity()));
    EXPECT_TRUE(index.check_invariants());
  }
}

TEST(TagIndex, TwoValuesOfOneHashAreKeptApart) {
  TagIndex index(100);
  const TagIndex::Place place = index.place_of(0x1234'5678'9abc'def0);
  for (std::uint32_t value = 0; value < 20; ++value) ASSERT_TRUE(index.insert(place, value));
  EXPECT_FALSE(index.insert(place, 20));  // two buckets of ten
  ASSERT_TRUE(index.erase(place, 7));
  EXPECT_FALSE(index.erase(place, 7));
  EXPECT_EQ(find_value(index, 0x1234'5678'9abc'def0, 7), TagIndex::kNothing);
  EXPECT_EQ(find_value(index, 0x1234'5678'9abc'def0, 8), 8u);
  EXPECT_TRUE(index.check_invariants());
}

TEST(TagIndex, MissesReadOneBucketWhileFewEntriesHaveMoved) {
  TagIndex index(100'000);
  std::mt19937_64 random(5);
  for (std::uint32_t value = 0; value < 50'000; ++value)
    ASSERT_TRUE(index.insert(index.place_of(random()), value));
  unsigned second = 0;
  for (unsigned i = 0; i < 100'000; ++i) second += index.may_overflow(index.place_of(random()));
  EXPECT_LT(second, 1000u);  // 1 % at half fill
}

// Keys as an attacker would choose them: they differ in few bits, or only in high or low ones.
std::vector<FlowKey> chosen_keys(unsigned kind) {
  std::vector<FlowKey> keys;
  for (std::uint64_t i = 0; i < 65536; ++i) {
    switch (kind) {
      case 0:
        keys.push_back({0x0006'01bb'0101'0101, 0xc0a8'7a0a | i << 32});
        break;  // ports of one VM
      case 1:
        keys.push_back({0x0011'0035'0000'0000 | i, 0x1111'c0a8'7a0a});
        break;  // remote addresses, low bits
      case 2:
        keys.push_back({0x0011'0035'0000'0000 | i << 16, 0x1111'c0a8'7a0a});
        break;  // and high bits
      case 3:
        keys.push_back({0x0011'0000'0808'0808 | i << 32, 0xc0a8'7a0a | (i ^ 0xffff) << 32});
        break;
      default:
        keys.push_back({0x0011'0000'0808'0808 + (i << 32), 0xc0a8'7a0a + (i << 32)});
        break;
    }
  }
  return keys;
}

TEST(TagIndex, ChosenKeysSpreadLikeRandomOnesUnderEverySeed) {
  constexpr unsigned kBuckets = 4096;
  for (unsigned kind = 0; kind < 5; ++kind) {
    const std::vector<FlowKey> keys = chosen_keys(kind);
    for (std::uint64_t seed = 1; seed <= 16; ++seed) {
      const FlowHash hash(seed);
      std::vector<unsigned> buckets(kBuckets), tags(kBuckets);
      for (const FlowKey& key : keys) {
        const std::uint64_t value = hash(key);
        ++buckets[value >> 52];
        ++tags[(value & 0xffff) >> 4];
      }
      // Poisson with mean 16: 60 in one of 4096 buckets has a probability below 1e-12.
      EXPECT_LT(*std::ranges::max_element(buckets), 60u) << "kind " << kind << " seed " << seed;
      EXPECT_LT(*std::ranges::max_element(tags), 60u) << "kind " << kind << " seed " << seed;
    }
  }
}

TEST(TagIndex, KeysThatPileUpUnderOneSeedAreHarmlessUnderAnother) {
  // The attacker knows seed 1 and collects keys of one bucket of 4096; the gateway started with seed 2.
  const FlowHash known(1), actual(2);
  std::vector<FlowKey> keys;
  for (std::uint64_t i = 0; keys.size() < 4096; ++i) {
    const FlowKey key{0x0011'0000'0000'0000 | (i & 0xffff'ffff'ffff), 0x1111'c0a8'7a0a};
    if (known(key) >> 52 == 77) keys.push_back(key);
  }
  std::vector<unsigned> buckets(4096);
  for (const FlowKey& key : keys) ++buckets[actual(key) >> 52];
  EXPECT_LT(*std::ranges::max_element(buckets), 15u);
  TagIndex index(4096);
  for (std::uint32_t i = 0; i < keys.size(); ++i)
    ASSERT_TRUE(index.insert(index.place_of(actual(keys[i])), i)) << i;
}

}  // namespace
}  // namespace vmnat::conntrack
