// SPDX-License-Identifier: Apache-2.0
// compare() walks the rows of keys_*.h: whether a key is live, and how its value reads, stands there.
#include "control/config/reload.h"

#include <algorithm>
#include <fmt/format.h>

#include "control/config/keys_network.h"

namespace vmnat::control {
namespace {

using config::Blocks;
using config::Config;
using config::for_each_key;
using config::Key;
using config::kHasARowForEachMember;
using config::Map;
using config::MapIfGiven;
using config::Network;
using config::ScalarForm;

// Of which network the keys are, and in which section of it: {"red", "nat.timeouts."}.
struct Place {
  std::string network, section;

  [[nodiscard]] Place in(std::string_view name) const { return {network, section + std::string{name} + '.'}; }
  // "networks.red.nat.ports"
  [[nodiscard]] std::string key(std::string_view name) const {
    return (network.empty() ? "" : "networks." + network + '.') + section + std::string{name};
  }
  // "network red: nat.mapping"
  [[nodiscard]] std::string subject(std::string_view name) const {
    return (network.empty() ? "" : "network " + network + ": ") + section + std::string{name};
  }
};

// Lists, sections and free text are too long for a sentence.
template <typename Form, typename T>
std::string predicate(const Form& form, const T& value) {
  if constexpr (ScalarForm<Form>)
    if (!form.is_free_text(value)) return " is now " + form.text(value);
  return " has changed";
}

template <typename S>
void compare_keys(const S& running, const S& wanted, const Place& at, Changes& changes);

template <typename S, typename T, typename Form>
void compare_key(const Key<S, T, Form>& key, const T& running, const T& wanted, const Place& at,
                 Changes& changes) {
  if (running == wanted) return;
  if (!key.traits.is_live) return changes.restart.push_back(at.key(key.name));
  const std::string sentence = at.subject(key.name) + predicate(key.form, wanted);
  // Two members may be one key: it is told once.
  if (changes.live.empty() || changes.live.back() != sentence) changes.live.push_back(sentence);
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
  if (running || wanted) changes.live.push_back(at.subject(key.name) + (wanted ? " is new" : " has gone"));
}

const Network* find_network(const std::vector<Network>& networks, const std::string& name) {
  const auto found = std::ranges::find(networks, name, &Network::name);
  return found == networks.end() ? nullptr : &*found;
}

// Networks are told apart by their names.
template <typename S>
void compare_key(const Key<S, std::vector<Network>, Blocks>&, const std::vector<Network>& running,
                 const std::vector<Network>& wanted, const Place&, Changes& changes) {
  for (const Network& network : running)
    if (find_network(wanted, network.name) == nullptr)
      changes.live.push_back("network " + network.name + " has gone");
  for (const Network& network : wanted)
    if (const Network* before = find_network(running, network.name))
      compare_keys(*before, network, {.network = network.name, .section = ""}, changes);
    else
      changes.live.push_back("network " + network.name + " is new");
}

template <typename S>
void compare_keys(const S& running, const S& wanted, const Place& at, Changes& changes) {
  static_assert(kHasARowForEachMember<S>, "a change of a member without a row would not be noticed");
  for_each_key<S>([&](const auto& key) {
    const auto applies = key.traits.applies;  // else another key says what has changed, if anything
    if (applies != nullptr && !(applies(running) && applies(wanted))) return;
    if (key.traits.needs_restart != nullptr && key.traits.needs_restart(running, wanted))
      return changes.restart.push_back(at.key(key.name));
    compare_key(key, running.*key.member, wanted.*key.member, at, changes);
  });
}

}  // namespace

Changes compare(const Config& running, const Config& wanted) {
  Changes changes;
  compare_keys(running, wanted, {}, changes);
  return changes;
}

std::string restart_sentence(const std::vector<std::string>& keys) {
  return fmt::format("needs a restart: {}; nothing was changed", fmt::join(keys, ", "));
}

}  // namespace vmnat::control
