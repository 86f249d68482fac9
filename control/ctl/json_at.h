// SPDX-License-Identifier: Apache-2.0
// What stands in an answer, of a daemon of another version perhaps: nothing may be there, or something else.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace vmnat::ctl {

// object[a][b]..., or null.
template <typename... Keys>
const nlohmann::json& at(const nlohmann::json& object, std::string_view key, Keys... further) {
  static const nlohmann::json kNothing;
  const auto found = object.is_object() ? object.find(key) : object.end();
  const nlohmann::json& value = found == object.end() ? kNothing : *found;
  if constexpr (sizeof...(further) == 0)
    return value;
  else
    return at(value, further...);
}

// The text at the key; empty: there is none.
inline std::string text_at(const nlohmann::json& object, std::string_view key) {
  const nlohmann::json& value = at(object, key);
  return value.is_string() ? value.get<std::string>() : std::string{};
}

}  // namespace vmnat::ctl
