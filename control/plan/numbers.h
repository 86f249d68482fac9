// SPDX-License-Identifier: Apache-2.0
// Numbers: which port and which network has which number, while both come and go.
//
// Workers, sessions and frames know ports and networks by number. Whoever stays keeps its number; whoever comes gets
// the lowest one that is free. The number of one that has left stays taken until release(): sessions and frames may
// refer to it for some seconds more (control/gateway/departures.h).
//
//   start       vm1 1, vm2 2, vm3 3
//   vm2 leaves  vm1 1,        vm3 3         2 is nobody's, and taken
//   vm4 comes   vm1 1,        vm3 3, vm4 4
//   release(2), vm5 comes: vm5 2
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "dataplane/context/forwarding_state.h"

namespace vmnat::control {

using dataplane::NetworkIndex;

template <typename Index>
class NumberBook {
 public:
  // Numbers are below `most`.
  explicit NumberBook(std::size_t most) : most_(most) {}

  [[nodiscard]] std::optional<Index> of(std::string_view name) const {
    const auto found = numbers_.find(name);
    return found == numbers_.end() ? std::nullopt : std::optional{found->second};
  }
  // Its number, which it may have already; nothing: all are taken.
  std::optional<Index> give(const std::string& name) {
    if (const auto known = of(name)) return known;
    const auto free = std::ranges::find(is_taken_, false);
    if (free == is_taken_.end() && is_taken_.size() == most_) return std::nullopt;
    const auto number = static_cast<Index>(free - is_taken_.begin());
    if (free == is_taken_.end()) is_taken_.push_back(true);
    is_taken_[number] = true;
    numbers_.emplace(name, number);
    return number;
  }
  // The name has no number any more; the number stays taken.
  void retire(std::string_view name) {
    if (const auto known = numbers_.find(name); known != numbers_.end()) numbers_.erase(known);
  }
  // Nothing refers to the number any more.
  void release(Index number) { is_taken_[number] = false; }
  // Above all numbers that were ever given.
  [[nodiscard]] std::size_t bound() const { return is_taken_.size(); }

 private:
  std::size_t most_;
  std::map<std::string, Index, std::less<>> numbers_;
  std::vector<bool> is_taken_;
};

struct Numbers {
  NumberBook<PortIndex> ports{kMostPorts};
  NumberBook<NetworkIndex> networks{kMostNetworks};
};

}  // namespace vmnat::control
