// SPDX-License-Identifier: Apache-2.0
// A NAT's sessions as tests look at them: copied, as control does for `vmnatctl sessions`.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "conntrack/conntrack.h"

namespace vmnat::conntrack {

inline std::vector<SessionView> views_of(const Conntrack& conntrack) {
  std::vector<SessionView> views(conntrack.capacity());
  std::uint32_t cursor = 0;
  views.resize(conntrack.snapshot(cursor, views));
  return views;
}

// By the session's key of either direction.
inline std::optional<SessionView> view_of(const Conntrack& conntrack, const FlowKey& key) {
  const auto views = views_of(conntrack);
  const auto found = std::ranges::find_if(views, [&](const SessionView& view) {
    return key == FlowKey::of(view.internal, view.remote, view.protocol) ||
           key == FlowKey::of(view.external, view.remote, view.protocol);
  });
  return found == views.end() ? std::nullopt : std::optional(*found);
}

}  // namespace vmnat::conntrack
