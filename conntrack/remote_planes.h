// SPDX-License-Identifier: Apache-2.0
// RemotePlanes: which ports of an external address are taken towards one remote endpoint.
//
// When all ports of an address have sessions, a port may be given to one more session, towards another
// remote: that is overload. Where few sessions go to the remote, random tries find such a port. Where many
// do, a plane is kept: a bit map of the 65536 ports that are taken towards this remote. A block of it is
// filled from the session table when it is first asked about, and exact from then on. So the search finds a
// port as long as a legal tuple is left; where all are taken, 16 words say so.
//
// At most 64 planes of 8 KiB are kept, in sets of four. In a full set the least recently used plane makes
// room.
#pragma once

#include "conntrack/external_ports.h"
#include "conntrack/hash.h"

namespace vmnat::conntrack {

class RemotePlanes {
 public:
  struct Key {
    std::uint64_t remote = 0;  // as in FlowKey: address, port, protocol
    std::uint64_t external = 0;
    bool operator==(const Key&) const = default;
  };
  struct Plane {
    Key key;  // remote 0: unused
    std::uint64_t last_use;
    std::array<std::uint64_t, kBlockWords> known;    // blocks whose word is filled
    std::array<std::uint64_t, kBlockWords> no_room;  // blocks known to have no free port
    std::array<std::uint64_t, kPortBlocks> taken;

    [[nodiscard]] bool knows(unsigned block) const { return known[block / 64] >> (block % 64) & 1; }
    void learn(unsigned block, std::uint64_t taken_ports) {
      taken[block] = taken_ports;
      known[block / 64] |= std::uint64_t{1} << (block % 64);
    }
  };

  explicit RemotePlanes(FlowHash hash) : hash_(hash), planes_(kSets * kWays) {}
  [[nodiscard]] bool reserved() const { return planes_.reserved(); }

  [[nodiscard]] std::size_t memory_used() const { return planes_.memory_used(); }

  static Key key_of(std::uint64_t remote, ExternalIndex external) {
    return {remote & FlowKey::kRemoteMask, std::uint64_t{external} + 1};
  }
  [[nodiscard]] Plane* find(const Key& key);
  Plane& find_or_add(const Key& key);

  // A session to this remote has opened at the port, or closed. Keeps planes exact.
  void note(const Key& key, net::L4Port port, bool taken);
  // Other ports may be given out now: blocks that were known to have no free one are looked at again.
  void forget_no_room();

 private:
  static constexpr unsigned kSets = 16;
  static constexpr unsigned kWays = 4;

  [[nodiscard]] Plane* set_of(const Key& key) {
    return &planes_[hash_({key.remote, key.external}) % kSets * kWays];
  }

  FlowHash hash_;
  std::uint64_t uses_ = 0;
  ReservedArray<Plane> planes_;
};

}  // namespace vmnat::conntrack
