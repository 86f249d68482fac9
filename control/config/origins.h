// SPDX-License-Identifier: Apache-2.0
// Where each key of a configuration comes from: the file, a script, or nowhere, so that it has its default.
//
// Origins are kept by path, as a Section names it, of the keys that stand in the document. named_origins() has
// every key of a Config, with elements by their names, for people and programs. Example:
//
//   Origins{{"networks[0].ports[1]", Script}, ...}
//   "networks.default.mtu" -> Default, "networks.default.ports.vm9" -> Script
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "control/config/document.h"
#include "control/config/model.h"

namespace vmnat::config {

using Origins = std::map<std::string, Origin, std::less<>>;

// Of the key or the element at `path`.
inline Origin origin_at(const Origins& origins, std::string_view path) {
  const auto found = origins.find(path);
  return found == origins.end() ? Origin::Default : found->second;
}

struct NamedOrigin {
  std::string name;
  Origin origin;
};
// In the order of the file.
std::vector<NamedOrigin> named_origins(const Config& config, const Origins& origins);

}  // namespace vmnat::config
