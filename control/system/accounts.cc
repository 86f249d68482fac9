// SPDX-License-Identifier: Apache-2.0
#include "control/system/accounts.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <grp.h>
#include <pwd.h>
#include <vector>

namespace vmnat::control {
namespace {

// By getpwnam_r and its like, whose texts need as much room as they say: a group may have thousands of members.
// What `take` makes of the record; nothing: there is none.
template <typename Key, typename Record, typename Take>
auto look_up(int (*by)(Key, Record*, char*, std::size_t, Record**), Key key, Take take)
    -> std::optional<decltype(take(Record{}))> {
  Record record{};
  Record* found = nullptr;
  std::vector<char> texts(4096);
  while (by(key, &record, texts.data(), texts.size(), &found) == ERANGE) texts.resize(2 * texts.size());
  return found == nullptr ? std::nullopt : std::optional{take(record)};
}

template <typename Record, typename Id>
std::optional<Id> id_of(const std::string& name,
                        int (*by)(const char*, Record*, char*, std::size_t, Record**), Id Record::*id) {
  if (const auto known = look_up(by, name.c_str(), [id](const Record& record) { return record.*id; }))
    return known;
  Id number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  const bool is_number = error == std::errc{} && end == name.data() + name.size();
  return is_number ? std::optional{number} : std::nullopt;
}

}  // namespace

std::optional<uid_t> user_id(const std::string& name) {
  return id_of(name, ::getpwnam_r, &passwd::pw_uid);
}

std::optional<gid_t> primary_group(const std::string& user) {
  return id_of(user, ::getpwnam_r, &passwd::pw_gid);
}

std::optional<gid_t> group_id(const std::string& name) {
  return id_of(name, ::getgrnam_r, &group::gr_gid);
}

bool is_in_group(const std::string& user, gid_t group) {
  const auto own = primary_group(user);
  if (!own) return false;
  std::vector<gid_t> groups(16);
  int count = static_cast<int>(groups.size());
  while (getgrouplist(user.c_str(), *own, groups.data(), &count) < 0)
    groups.resize(static_cast<std::size_t>(count));
  groups.resize(static_cast<std::size_t>(count));
  return std::ranges::find(groups, group) != groups.end();
}

std::string user_name(uid_t user) {
  return look_up(::getpwuid_r, user, [](const passwd& record) { return std::string{record.pw_name}; })
      .value_or(std::to_string(user));
}

}  // namespace vmnat::control
