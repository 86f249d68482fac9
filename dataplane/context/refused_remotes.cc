// SPDX-License-Identifier: Apache-2.0
#include "dataplane/context/refused_remotes.h"

namespace vmnat::dataplane {
namespace {

std::uint64_t packed(net::Ipv4Addr remote, PortIndex port, DropReason cause) {
  return remote.raw() | std::uint64_t{port} << 32 | static_cast<std::uint64_t>(cause) << 48;
}

std::uint64_t count_in(const std::array<std::atomic<std::uint64_t>, 3>& words) {
  return words[1].load(std::memory_order_relaxed);
}

}  // namespace

// Release, paired with row_of's acquire: who sees one of these words sees the odd sequence before it.
void RefusedRemotes::write(Words& words, std::uint64_t who, std::uint64_t count, std::uint64_t excess) {
  words[0].store(who, std::memory_order_release);
  words[1].store(count, std::memory_order_release);
  words[2].store(excess, std::memory_order_release);
}

// The remote's row, else the one with the least count.
RefusedRemotes::Words& RefusedRemotes::row_for(net::Ipv4Addr remote) {
  Words* least = &rows_[0];
  for (Words& words : rows_) {
    const std::uint64_t count = count_in(words);
    const auto of = static_cast<std::uint32_t>(words[0].load(std::memory_order_relaxed));
    if (count != 0 && of == remote.raw()) return words;
    if (count < count_in(*least)) least = &words;
  }
  return *least;
}

void RefusedRemotes::note(net::Ipv4Addr remote, PortIndex port, DropReason cause) {
  const std::uint64_t sequence = sequence_.load(std::memory_order_relaxed);
  sequence_.store(sequence + 1, std::memory_order_relaxed);  // released by each word that follows
  Words& row = row_for(remote);
  const std::uint64_t count = count_in(row);
  const bool is_its_own = count != 0 && row_of(row).remote == remote;
  const std::uint64_t excess = is_its_own ? row[2].load(std::memory_order_relaxed) : count;
  write(row, packed(remote, port, cause), count + 1, excess);
  write(latest_, packed(remote, port, cause), count_in(latest_) + 1, 0);
  sequence_.store(sequence + 2, std::memory_order_release);  // pairs with the acquire in copied
}

RefusedRemotes::Row RefusedRemotes::row_of(const Words& words) {
  const std::uint64_t who = words[0].load(std::memory_order_acquire);
  return {.remote = net::Ipv4Addr::from_raw(static_cast<std::uint32_t>(who)),
          .port = static_cast<PortIndex>(who >> 32),
          .cause = static_cast<DropReason>(who >> 48 & 0xff),
          .count = words[1].load(std::memory_order_acquire),
          .excess = words[2].load(std::memory_order_acquire)};
}

RefusedRemotes::Copy RefusedRemotes::copied() const {
  Copy copy;
  for (;;) {
    const std::uint64_t before = sequence_.load(std::memory_order_acquire);
    for (unsigned i = 0; i < kRows; ++i) copy.rows[i] = row_of(rows_[i]);
    copy.latest = row_of(latest_);
    if (before % 2 == 0 && sequence_.load(std::memory_order_relaxed) == before) return copy;
  }
}

}  // namespace vmnat::dataplane
