// SPDX-License-Identifier: Apache-2.0
// Both functions walk the rows of keys_*.h: whether a key is live, and how its value reads, stands there.
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
  if (running || wanted) changes.restart.push_back(at.key(key.name));
}

bool same_names(const std::vector<Network>& running, const std::vector<Network>& wanted) {
  return std::ranges::equal(running, wanted, {}, &Network::name, &Network::name);
}

// Networks are told apart by their names.
template <typename S>
void compare_key(const Key<S, std::vector<Network>, Blocks>& key, const std::vector<Network>& running,
                 const std::vector<Network>& wanted, const Place& at, Changes& changes) {
  if (!same_names(running, wanted)) return changes.restart.push_back(at.key(key.name));
  for (std::size_t i = 0; i < running.size(); ++i)
    compare_keys(running[i], wanted[i], {.network = running[i].name, .section = ""}, changes);
}

template <typename S>
void compare_keys(const S& running, const S& wanted, const Place& at, Changes& changes) {
  static_assert(kHasARowForEachMember<S>, "a change of a member without a row would not be noticed");
  for_each_key<S>([&](const auto& key) {
    if (key.traits.needs_restart != nullptr && key.traits.needs_restart(running, wanted))
      return changes.restart.push_back(at.key(key.name));
    compare_key(key, running.*key.member, wanted.*key.member, at, changes);
  });
}

template <typename S>
void adopt_keys(S& running, const S& wanted);

template <typename S, typename T, typename Form>
void adopt_key(const Key<S, T, Form>& key, T& running, const T& wanted) {
  if (key.traits.is_live) running = wanted;
}

template <typename S, typename T>
void adopt_key(const Key<S, T, Map>&, T& running, const T& wanted) {
  adopt_keys(running, wanted);
}

template <typename S, typename T>
void adopt_key(const Key<S, std::optional<T>, MapIfGiven>&, std::optional<T>& running,
               const std::optional<T>& wanted) {
  if (running && wanted) adopt_keys(*running, *wanted);
}

template <typename S, typename T>
void adopt_key(const Key<S, std::vector<T>, Blocks>&, std::vector<T>& running, const std::vector<T>& wanted) {
  for (std::size_t i = 0; i < running.size(); ++i) adopt_keys(running[i], wanted[i]);
}

template <typename S>
void adopt_keys(S& running, const S& wanted) {
  for_each_key<S>([&](const auto& key) { adopt_key(key, running.*key.member, wanted.*key.member); });
}

}  // namespace

Changes compare(const Config& running, const Config& wanted) {
  Changes changes;
  compare_keys(running, wanted, {}, changes);
  return changes;
}

void adopt_live(Config& running, const Config& wanted) {
  adopt_keys(running, wanted);
}

std::string restart_sentence(const std::vector<std::string>& keys) {
  return fmt::format("needs a restart: {}; nothing was changed", fmt::join(keys, ", "));
}

}  // namespace vmnat::control
