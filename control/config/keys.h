// SPDX-License-Identifier: Apache-2.0
// One row a key of the file, and how to walk the rows.
//
// keys_*.h hold a table for each section of model.h, with a row for each member, in the order of the members:
//
//     template <>
//     inline constexpr auto kKeys<Limits> = std::tuple{
//         key("sessions_per_port", &Limits::sessions_per_port, within<std::uint32_t>(0, 0xffffffff),
//             "Live sessions; 0: a share of the worker's table.", {.is_live = true}),
//         ...
//
// Everything that is done with a key comes from its row: reading it (parse.cc), writing it (dump.cc), what a
// reload does with a change (reload.cc), configs/schema.json and configs/reference.yaml (config_files.h).
// Its default is the member's initialiser.
#pragma once

#include <string>
#include <string_view>
#include <tuple>

namespace vmnat::config {

template <typename S>
struct KeyTraits {
  // The value in reference.yaml of a required key; of others what stands there behind "#:", where the default
  // says little about the form.
  std::string_view example = {};
  bool is_required = false;
  bool is_live = false;  // a reload takes a change over; else it needs a restart
  // Of a live key: a change that needs a restart all the same; null: there is none.
  bool (*needs_restart)(const S& running, const S& wanted) = nullptr;
  bool is_planned = false;  // read and checked, and refused unless it has its default: nothing heeds it yet
  // Of a list of scalars: what a reload calls an element. Empty: it tells that the list has changed.
  std::string_view element = {};
  bool default_varies = false;  // it depends on other keys (defaults.cc)
  // Where this is false the key means nothing, and a dump leaves it out; null: it always applies.
  bool (*applies)(const S&) = nullptr;
};

template <typename S, typename T, typename Form>
struct Key {
  std::string_view name;
  T S::*member;
  Form form;
  std::string_view says;  // for reference.yaml and schema.json
  KeyTraits<S> traits;
};

template <typename S, typename T, typename Form>
constexpr Key<S, T, Form> key(std::string_view name, T S::*member, Form form, std::string_view says,
                              KeyTraits<S> traits = {}) {
  return {name, member, form, says, traits};
}

// A row of the section S for a member that S has from its base.
template <typename S, typename Base, typename T, typename Form>
constexpr Key<S, T, Form> inherited_key(std::string_view name, T Base::*member, Form form,
                                        std::string_view says, KeyTraits<S> traits = {}) {
  return {name, member, form, says, traits};
}

// The rows of the section S.
template <typename S>
inline constexpr auto kKeys = std::tuple{};

// Of the elements of a list: how one is called, and by what it is told from the others. A reload then tells which
// have come, gone and changed.
template <typename S>
struct Named {
  std::string_view noun = {};  // empty: they have no names
  std::string (*name)(const S&) = nullptr;
  // What becomes of an element of a live list when a key changes whose own row is not live.
  std::string_view anew = {};
};
template <typename S>
inline constexpr Named<S> kNamed{};

// The section as it is when no key is given.
template <typename S>
const S& defaults() {
  static const S kDefaults{};
  return kDefaults;
}

template <typename S, typename Visitor>
constexpr void for_each_key(Visitor&& visit) {
  std::apply([&](const auto&... key) { (visit(key), ...); }, kKeys<S>);
}

// S can be initialised with values of these types; HasMoreThan: and with one more.
template <typename S, typename... T>
concept BeginsWith = requires {
  S{T{}...};
};
template <typename S, typename... T>
concept HasMoreThan = requires {
  S{T{}..., {}};
};

// Is there a row for each member of S, in the order of the members? Then S can be initialised with the types
// of the rows, and with no further member.
template <typename S, typename... T, typename... Form>
constexpr bool covers(const std::tuple<Key<S, T, Form>...>&) {
  return BeginsWith<S, T...> && !HasMoreThan<S, T...>;
}
template <typename S>
inline constexpr bool kHasARowForEachMember = covers(kKeys<S>);

// Two keys of a section of which exactly one is given, and what is said otherwise.
struct ExactlyOne {
  std::string_view first, second;
  std::string_view if_neither, if_both;
};
template <typename S>
inline constexpr ExactlyOne kExactlyOne{};  // with empty names: there are none

}  // namespace vmnat::config
