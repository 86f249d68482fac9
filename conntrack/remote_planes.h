// SPDX-License-Identifier: Apache-2.0
// RemotePlanes: which ports of an external address are taken towards one remote endpoint.
//
// When all ports of an address have sessions, a port may be used once more towards another remote
// (overload). Random tries find one while the remote is rare; for a remote with many sessions a plane of
// 65536 bits is kept, filled block by block from the session table when a block is first asked about, and
// exact from then on. So the search never gives up while a legal tuple is left, and says "none" for a
// remote that has them all after 16 words.
//
// At most 64 planes (8 KiB each) are kept, the least recently used of a set of four makes room.
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
    std::array<std::uint64_t, ExternalPorts::kBlockWords> known;    // blocks whose word is filled
    std::array<std::uint64_t, ExternalPorts::kBlockWords> no_room;  // blocks known to have no free port
    std::array<std::uint64_t, ExternalPorts::kBlocks> taken;
  };

  explicit RemotePlanes(FlowHash hash) : hash_(hash), planes_(kSets * kWays) {}
  [[nodiscard]] bool reserved() const { return planes_.reserved(); }

  [[nodiscard]] std::size_t memory_used() const { return planes_.memory_used(); }

  static Key key_of(std::uint64_t remote, ExternalIndex external) {
    return {remote & FlowKey::kRemoteMask, std::uint64_t{external} + 1};
  }
  [[nodiscard]] Plane* find(const Key& key);
  Plane& find_or_add(const Key& key);

  // A session to this remote opened or closed at the port: planes stay exact.
  void note(const Key& key, net::L4Port port, bool taken);

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
