// SPDX-License-Identifier: Apache-2.0
// Making the map of external ports: control's part.
#include "conntrack/external_ports.h"

#include <algorithm>

namespace vmnat::conntrack {

std::unique_ptr<ExternalPorts> ExternalPorts::create(unsigned capacity, unsigned workers,
                                                     std::span<const WorkerIndex> homes) {
  if (capacity == 0 || capacity > kMaxExternalAddresses) return nullptr;
  if (workers == 0 || workers >= kNoWorker) return nullptr;
  if (!homes.empty() && homes.size() != kPortBlocks) return nullptr;
  if (std::ranges::any_of(homes, [&](WorkerIndex home) { return home >= workers; })) return nullptr;
  std::unique_ptr<ExternalPorts> ports(new ExternalPorts);
  ports->capacity_ = capacity;
  ports->workers_ = workers;
  ports->set_homes(homes);
  ports->owners_ = ReservedArray<std::atomic<std::uint8_t>>(std::size_t{capacity} * kPortBlocks);
  ports->assigned_ = ReservedArray<std::atomic<std::uint64_t>>(std::size_t{capacity} * kBlockWords);
  ports->blocks_ = ReservedArray<PortBlock>(std::size_t{capacity} * kPortBlocks * kPortSpaces);
  const bool is_reserved =
      ports->owners_.reserved() && ports->assigned_.reserved() && ports->blocks_.reserved();
  return is_reserved ? std::move(ports) : nullptr;
}

void ExternalPorts::set_homes(std::span<const WorkerIndex> homes) {
  homes_.assign(workers_, {});
  for (unsigned block = 0; block < homes.size(); ++block)
    homes_[homes[block]][block / 64] |= std::uint64_t{1} << (block % 64);
  for (BlockSet& home : homes_)
    if (home == BlockSet{}) home.fill(~std::uint64_t{0});
}

void ExternalPorts::populate(unsigned addresses) {
  constexpr std::size_t kAtMost = 4u << 20;  // 42 addresses; of more, workers touch the rest themselves
  const Extent words = blocks_.part(0, std::size_t{addresses} * kPortSpaces * kPortBlocks, kAtMost);
  populate_pages(words.start, words.soon);  // refused: the same
}

}  // namespace vmnat::conntrack
