// SPDX-License-Identifier: Apache-2.0
// The addresses that one network may give out, and which of them are free: three bits an address.
//
// The ranges are laid end to end, and their addresses numbered from 0. A search for a free address starts
// anywhere and looks at 64 addresses a step, so a full /16 is searched in about a thousand steps. An address
// that somebody had before (`remember`) is given to another only when no fresh one is left.
// Example: ranges .2-.3 and .10-.11: .3 has number 1, .10 number 2; find_free(1) is .3, when taken .10.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "dhcp/settings.h"
#include "net/address.h"

namespace vmnat::dhcp {

class AddressPool {
 public:
  AddressPool() = default;
  // Ranges may overlap and reach out of `network`: what counts is their union within it, without the
  // network's first and last address (both usable in a /31 and /32, RFC 3021) and its own address.
  AddressPool(std::span<const AddressRange> ranges, net::Ipv4Prefix network);

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool contains(net::Ipv4Addr address) const;  // in a range and not blocked
  [[nodiscard]] bool is_free(net::Ipv4Addr address) const;   // contained and not taken

  // Takes the address out for good: it is reserved, or the gateway's own.
  void block(net::Ipv4Addr address);
  // Nothing happens to an address that is in no range.
  void take(net::Ipv4Addr address);
  void give_back(net::Ipv4Addr address);
  void remember(net::Ipv4Addr address);
  void forget(net::Ipv4Addr address);

  // A free address, the first one from number `start` modulo size on, fresh ones first.
  [[nodiscard]] std::optional<net::Ipv4Addr> find_free(std::uint64_t start) const;

 private:
  struct Interval {
    std::uint32_t first;
    std::uint32_t last;
    std::size_t number;  // of the first address
  };
  using Bits = std::vector<std::uint64_t>;

  [[nodiscard]] std::optional<std::size_t> number_of(net::Ipv4Addr address) const;
  [[nodiscard]] net::Ipv4Addr address_of(std::size_t number) const;
  void add_interval(std::uint32_t first, std::uint32_t last);
  template <typename Unusable>
  [[nodiscard]] std::optional<std::size_t> first_clear(std::size_t start, Unusable unusable) const;

  std::vector<Interval> intervals_;  // ascending, disjoint
  std::size_t size_ = 0;
  Bits taken_;
  Bits blocked_;
  Bits remembered_;
};

}  // namespace vmnat::dhcp
