// SPDX-License-Identifier: Apache-2.0
// compare() walks the rows of keys_*.h: whether a key is live, and how its value reads, stands there.
#include "control/config/reload.h"

#include <algorithm>
#include <fmt/format.h>

#include "control/config/element_changes.h"
#include "control/config/keys_network.h"

namespace vmnat::control {
namespace {

using config::Blocks;
using config::Config;
using config::for_each_key;
using config::Key;
using config::kHasARowForEachMember;
using config::kNamed;
using config::Lines;
using config::List;
using config::Map;
using config::MapIfGiven;
using config::NamedUplink;
using config::Network;

// Of which network the keys are, and in which section of it: {"red", "nat.timeouts."}.
struct Place {
  std::string network, section;

  [[nodiscard]] Place in(std::string_view name) const { return {network, section + std::string{name} + '.'}; }
  // "networks.red.nat.ports"
  [[nodiscard]] std::string key(std::string_view name) const {
    return (network.empty() ? "" : "networks." + network + '.') + section + std::string{name};
  }
  // "network red: "
  [[nodiscard]] std::string network_subject() const {
    return network.empty() ? "" : "network " + network + ": ";
  }
  // "network red: nat.mapping"
  [[nodiscard]] std::string subject(std::string_view name) const {
    return network_subject() + section + std::string{name};
  }
};

// Sentences about a key: told as live changes, or as what needs a restart.
void tell(Changes& changes, bool is_live, const std::string& key, const Sentences& sentences) {
  auto& told = is_live ? changes.live : changes.held;
  told.insert(told.end(), sentences.begin(), sentences.end());
  if (!is_live) changes.restart.push_back(key);
}

// What is said where nothing but the order of a list has changed, or the way in which it is written.
Sentences or_order(Sentences sentences, const std::string& list) {
  if (sentences.empty()) sentences.push_back(list + " are in another order");
  return sentences;
}

template <typename S>
void compare_keys(const S& running, const S& wanted, const Place& at, Changes& changes);

template <typename S, typename T, typename Form>
void compare_key(const Key<S, T, Form>& key, const T& running, const T& wanted, const Place& at,
                 Changes& changes) {
  if (running == wanted) return;
  tell(changes, key.traits.is_live, at.key(key.name), {at.subject(key.name) + predicate(key.form, wanted)});
}

template <typename S, typename T>
void compare_key(const Key<S, T, Map>& key, const T& running, const T& wanted, const Place& at,
                 Changes& changes) {
  compare_keys(running, wanted, at.in(key.name), changes);
}

template <typename S, typename T>
void compare_key(const Key<S, std::optional<T>, MapIfGiven>& key, const std::optional<T>& running,
                 const std::optional<T>& wanted, const Place& at, Changes& changes) {
  if (running && wanted) return compare_keys(*running, *wanted, at.in(key.name), changes);
  if (running || wanted)
    tell(changes, key.traits.is_live, at.key(key.name),
         {at.subject(key.name) + (wanted ? " added" : " removed")});
}

template <typename S, typename T, typename Item>
void compare_key(const Key<S, std::vector<T>, List<Item>>& key, const std::vector<T>& running,
                 const std::vector<T>& wanted, const Place& at, Changes& changes) {
  if (running == wanted) return;
  Sentences sentences{at.subject(key.name) + " has changed"};
  if constexpr (requires { T::first; })
    if (!key.traits.element.empty())
      sentences =
          or_order(range_changes(at.network_subject() + std::string{key.traits.element}, running, wanted),
                   at.subject(key.name));
  tell(changes, key.traits.is_live, at.key(key.name), sentences);
}

template <typename S, typename T>
void compare_key(const Key<S, std::vector<T>, Lines>& key, const std::vector<T>& running,
                 const std::vector<T>& wanted, const Place& at, Changes& changes) {
  if (running == wanted) return;
  Sentences sentences{at.subject(key.name) + " has changed"};
  if constexpr (!kNamed<T>.noun.empty()) {
    sentences = element_changes(running, wanted);
    for (std::string& sentence : sentences) sentence.insert(0, at.network_subject());
    sentences = or_order(std::move(sentences), at.subject(key.name));
  }
  tell(changes, key.traits.is_live, at.key(key.name), sentences);
}

std::string ports_of(const Network& network) {
  return fmt::format("{} port{}", network.ports.size(), network.ports.size() == 1 ? "" : "s");
}

const Network* find_network(const std::vector<Network>& networks, const std::string& name) {
  const auto found = std::ranges::find(networks, name, &Network::name);
  return found == networks.end() ? nullptr : &*found;
}

// Networks are told apart by their names; those that are in both configurations, key by key.
template <typename S>
void compare_key(const Key<S, std::vector<Network>, Blocks>& key, const std::vector<Network>& running,
                 const std::vector<Network>& wanted, const Place& at, Changes& changes) {
  Sentences sentences;
  for (const Network& network : running)
    if (find_network(wanted, network.name) == nullptr)
      sentences.push_back(fmt::format("network {} removed ({})", network.name, ports_of(network)));
  for (const Network& network : wanted)
    if (find_network(running, network.name) == nullptr)
      sentences.push_back(fmt::format("network {} added ({})", network.name, ports_of(network)));
  if (!std::ranges::equal(running, wanted, {}, &Network::name, &Network::name))
    tell(changes, key.traits.is_live, at.key(key.name), or_order(std::move(sentences), at.subject(key.name)));
  for (const Network& network : wanted)
    if (const Network* const was = find_network(running, network.name))
      compare_keys(*was, network, {.network = network.name, .section = ""}, changes);
}

// Which uplinks there are, and in which order, needs a restart; of each key its row says it.
template <typename S>
void compare_key(const Key<S, std::vector<NamedUplink>, Lines>& key, const std::vector<NamedUplink>& running,
                 const std::vector<NamedUplink>& wanted, const Place& at, Changes& changes) {
  if (!std::ranges::equal(running, wanted, {}, &NamedUplink::name, &NamedUplink::name))
    return tell(changes, false, at.key(key.name), {at.subject(key.name) + " have changed"});
  for (std::size_t i = 0; i < wanted.size(); ++i)
    compare_keys(running[i], wanted[i], at.in(key.name).in(wanted[i].name), changes);
}

template <typename S>
void compare_keys(const S& running, const S& wanted, const Place& at, Changes& changes) {
  static_assert(kHasARowForEachMember<S>, "a change of a member without a row would not be noticed");
  for_each_key<S>([&](const auto& key) {
    const auto applies = key.traits.applies;  // else another key says what has changed, if anything
    if (applies != nullptr && !(applies(running) && applies(wanted))) return;
    auto row = key;
    const auto needs_restart = key.traits.needs_restart;
    if (needs_restart != nullptr && needs_restart(running, wanted)) row.traits.is_live = false;
    compare_key(row, running.*key.member, wanted.*key.member, at, changes);
  });
}

}  // namespace

Changes compare(const Config& running, const Config& wanted) {
  Changes changes;
  compare_keys(running, wanted, {}, changes);
  if (running.uplinks.empty() != wanted.uplinks.empty())
    tell(changes, false, "uplinks", {"one uplink is another thing than several"});
  return changes;
}

std::string restart_sentence(const std::vector<std::string>& keys) {
  return fmt::format("needs a restart: {}; nothing was changed", fmt::join(keys, ", "));
}

}  // namespace vmnat::control
