// SPDX-License-Identifier: Apache-2.0
// DepartingSessions: the sessions that end because the configuration has changed, said by their external endpoint.
//
//   an address that a network loses    all sessions of the network that have it
//   a port that a forward leaves       all sessions that have it
//   a port that a forward takes over   all sessions that have it, but those of the endpoint that it leads to
//
// Immutable: control makes it, and the workers' flush asks it about each session (flush.h). By then no such
// session opens any more.
#pragma once

#include <vector>

#include "dataplane/context/forwarding_state.h"

namespace vmnat::dataplane {

class DepartingSessions {
 public:
  struct Address {
    NetworkIndex network = 0;
    net::Ipv4Addr address;
    auto operator<=>(const Address&) const = default;
  };
  struct Port {
    net::Endpoint external;
    net::Protocol protocol{};
    net::Endpoint staying;  // whose sessions go on; unspecified: nobody's
  };

  // Neither has an address or a port twice.
  DepartingSessions(const std::vector<Address>& addresses, const std::vector<Port>& ports)
      : addresses_(table_of(addresses)), ports_(table_of(ports)) {}

  [[nodiscard]] bool include(const conntrack::Session& session) const {
    if (addresses_.find(word_of(session.policy(), session.external().address)) != nullptr) return true;
    const net::Endpoint* staying = staying_at(session);
    return staying != nullptr && *staying != session.internal();
  }
  // nullptr: no forward comes or goes there.
  [[nodiscard]] const net::Endpoint* staying_at(const conntrack::Session& session) const {
    return ports_.find(ForwardingState::forward_word(session.external(), session.protocol()));
  }

 private:
  struct Leaving {};
  static std::uint64_t word_of(NetworkIndex network, net::Ipv4Addr address) {
    return std::uint64_t{network} << 32 | address.raw();
  }
  static WordTable<Leaving> table_of(const std::vector<Address>& addresses) {
    std::vector<WordTable<Leaving>::Entry> entries;
    entries.reserve(addresses.size());
    for (const auto& [network, address] : addresses) entries.push_back({word_of(network, address), {}});
    return WordTable<Leaving>(entries);
  }
  static WordTable<net::Endpoint> table_of(const std::vector<Port>& ports) {
    std::vector<WordTable<net::Endpoint>::Entry> entries;
    entries.reserve(ports.size());
    for (const auto& [external, protocol, staying] : ports)
      entries.push_back({ForwardingState::forward_word(external, protocol), staying});
    return WordTable<net::Endpoint>(entries);
  }

  WordTable<Leaving> addresses_;
  WordTable<net::Endpoint> ports_;
};

}  // namespace vmnat::dataplane
