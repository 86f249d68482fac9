// SPDX-License-Identifier: Apache-2.0
// A YAML document as a plain tree with positions.
//
// yaml-cpp reads the text. Nodes of our own hold the result, because they keep what a precise complaint
// needs: the position of every key, and keys given twice. They also keep yaml-cpp's headers out of the
// reader. Example: "mtu: 1500" is a Map with the key "mtu" at 1:1 and one Scalar item "1500" at 1:6.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "control/config/problem.h"

namespace vmnat::config {

struct Node {
  enum class Kind { Null, Scalar, List, Map };

  Kind kind = Kind::Null;
  Position at;
  std::string text;               // of a Scalar
  std::vector<Node> items;        // of a List; the values of a Map
  std::vector<std::string> keys;  // of a Map: keys[i] at key_at[i] stands before items[i]
  std::vector<Position> key_at;
};

// The one document of `text`; an empty text is a Null node. The Problem has no file name.
tl::expected<Node, Problem> read_yaml(std::string_view text);
// The inverse, as one line in YAML's flow style; reading it back gives the same content.
std::string write_yaml(const Node& node);

}  // namespace vmnat::config
