// SPDX-License-Identifier: Apache-2.0
// What sets two lists apart, element by element, in sentences without their subject; internal to reload.cc.
//
// Lists of sections are compared by the names of their elements, lists of addresses and ports number by number.
// Example: [10.0.0.1-10.0.0.4] against [10.0.0.1-10.0.0.5] is {"pool address 10.0.0.5 added"}, however the file
// cuts its ranges.
#pragma once

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "control/config/forms.h"
#include "control/config/keys.h"

namespace vmnat::control {

using Sentences = std::vector<std::string>;

// " is now 5m"; lists, sections and free text are too long for a sentence.
template <typename Form, typename T>
std::string predicate(const Form& form, const T& value) {
  if constexpr (config::ScalarForm<Form>)
    if (!form.is_free_text(value)) return " is now " + form.text(value);
  return " has changed";
}

template <typename S>
using ByName = std::unordered_map<std::string, const S*>;

template <typename S>
ByName<S> by_name(const std::vector<S>& elements) {
  ByName<S> all;
  for (const S& one : elements) all.emplace(config::kNamed<S>.name(one), &one);
  return all;
}

// "port vm1: queues is now 2 (its device is opened anew)"; empty: nothing has changed.
template <typename S>
std::string change_of_element(const S& before, const S& after) {
  Sentences keys;
  bool is_anew = false;
  config::for_each_key<S>([&](const auto& key) {
    if (before.*key.member == after.*key.member) return;
    keys.push_back(std::string{key.name} + predicate(key.form, after.*key.member));
    is_anew |= !key.traits.is_live && !config::kNamed<S>.anew.empty();
  });
  if (keys.empty()) return {};
  return fmt::format("{} {}: {}{}", config::kNamed<S>.noun, config::kNamed<S>.name(after),
                     fmt::join(keys, ", "), is_anew ? fmt::format(" ({})", config::kNamed<S>.anew) : "");
}

template <typename S>
Sentences element_changes(const std::vector<S>& before, const std::vector<S>& after) {
  constexpr const auto& named = config::kNamed<S>;
  const ByName<S> were = by_name(before), are = by_name(after);
  Sentences sentences;
  for (const S& one : before)
    if (const std::string name = named.name(one); !are.contains(name))
      sentences.push_back(fmt::format("{} {} removed", named.noun, name));
  for (const S& one : after) {
    const std::string name = named.name(one);
    const auto was = were.find(name);
    std::string sentence = was == were.end() ? fmt::format("{} {} added", named.noun, name)
                                             : change_of_element(*was->second, one);
    if (!sentence.empty()) sentences.push_back(std::move(sentence));
  }
  return sentences;
}

// Appends what is left of a range without another: none, one or two ranges.
template <typename Range>
void append_without(const Range& range, const Range& other, std::vector<Range>& left) {
  using End = decltype(Range::first);
  using Number = decltype(range.first.host());
  if (range.last < other.first || other.last < range.first) return left.push_back(range);
  if (range.first < other.first)
    left.push_back({range.first, End::from_host(static_cast<Number>(other.first.host() - 1u))});
  if (other.last < range.last)
    left.push_back({End::from_host(static_cast<Number>(other.last.host() + 1u)), range.last});
}

// What is left of `ranges` without `others`, ascending; neighbours are one range.
template <typename Range>
std::vector<Range> without(std::vector<Range> ranges, const std::vector<Range>& others) {
  for (const Range& other : others) {
    std::vector<Range> left;
    for (const Range& range : ranges) append_without(range, other, left);
    ranges = std::move(left);
  }
  std::ranges::sort(ranges, {}, [](const Range& range) { return range.first.host(); });
  std::vector<Range> joined;
  for (const Range& range : ranges)
    if (!joined.empty() && joined.back().last.host() + std::uint64_t{1} == range.first.host())
      joined.back().last = range.last;
    else
      joined.push_back(range);
  return joined;
}

template <typename Range>
Sentences range_changes(std::string_view noun, const std::vector<Range>& before,
                        const std::vector<Range>& after) {
  Sentences sentences;
  for (const Range& gone : without(before, after))
    sentences.push_back(fmt::format("{} {} removed", noun, config::to_text(gone)));
  for (const Range& come : without(after, before))
    sentences.push_back(fmt::format("{} {} added", noun, config::to_text(come)));
  return sentences;
}

}  // namespace vmnat::control
