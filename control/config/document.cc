// SPDX-License-Identifier: Apache-2.0
#include "control/config/document.h"

#include <algorithm>
#include <utility>

namespace vmnat::config {

const Node* find_key(const Node& map, std::string_view key) {
  if (map.kind != Node::Kind::Map) return nullptr;
  const auto found = std::ranges::find(map.keys, key);
  return found == map.keys.end() ? nullptr : &map.items[static_cast<std::size_t>(found - map.keys.begin())];
}

Node* find_key(Node& map, std::string_view key) {
  return const_cast<Node*>(find_key(std::as_const(map), key));
}

std::string_view text_of(const Node& map, std::string_view key) {
  const Node* const value = find_key(map, key);
  return value != nullptr && value->kind == Node::Kind::Scalar ? std::string_view{value->text}
                                                               : std::string_view{};
}

Node& set_key(Node& map, std::string_view key, Node value) {
  map.kind = Node::Kind::Map;  // "nat:" alone is none yet
  if (Node* const found = find_key(map, key)) return *found = std::move(value);
  map.keys.emplace_back(key);
  map.key_at.push_back(value.at);
  map.items.push_back(std::move(value));
  return map.items.back();
}

Node scalar_node(std::string text) {
  return {.kind = Node::Kind::Scalar, .at = {0, 0}, .text = std::move(text)};
}

bool same_content(const Node& a, const Node& b) {
  if (a.kind != b.kind || a.text != b.text || a.items.size() != b.items.size()) return false;
  if (a.kind != Node::Kind::Map) return std::ranges::equal(a.items, b.items, same_content);
  return std::ranges::all_of(a.keys, [&](const std::string& key) {
    const Node* const other = find_key(b, key);
    return other != nullptr && same_content(*find_key(a, key), *other);
  });
}

}  // namespace vmnat::config
