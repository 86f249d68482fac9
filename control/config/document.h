// SPDX-License-Identifier: Apache-2.0
// Document: the tree that a configuration is read from, with what its parts come from.
//
// The file's tree is source 0. What scripts have changed on top of it (control/changes/) is put into the tree
// before it is read into the model, so that it has the same defaults and passes the same checks, and each such
// part is a source of its own. Example: sources {{"/etc/vmnat.yaml", File}, {"port vm9 (by a script)", Script}}.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/config/yaml_document.h"

namespace vmnat::config {

enum class Origin { Default, File, Script, PersistentScript };
constexpr std::string_view to_text(Origin origin) {
  switch (origin) {
    case Origin::File:
      return "file";
    case Origin::Script:
      return "script";
    case Origin::PersistentScript:
      return "script, persistent";
    case Origin::Default:
      break;
  }
  return "default";
}

struct Source {
  std::string name;
  Origin origin = Origin::File;
};

struct Document {
  Node root;
  std::vector<Source> sources;  // by Position::source
};

// The value of a key of a map; null: there is none, or `map` is none.
const Node* find_key(const Node& map, std::string_view key);
Node* find_key(Node& map, std::string_view key);
// The text of a scalar key; empty: there is none.
std::string_view text_of(const Node& map, std::string_view key);
// Sets a key of a map, or adds it.
Node& set_key(Node& map, std::string_view key, Node value);
Node scalar_node(std::string text);
// The same values, wherever they stand and in whatever order the keys of maps are.
bool same_content(const Node& a, const Node& b);

}  // namespace vmnat::config
