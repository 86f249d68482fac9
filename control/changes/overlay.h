// SPDX-License-Identifier: Apache-2.0
// Overlay: all that scripts have changed on top of the configuration file, in two layers.
//
// The persistent layer lies on the file and survives a restart; the other lies on both and lasts until vmnatd
// stops. A layer has at most one edit of a thing, which says what becomes of it, whatever was done before.
// Example: `port add vm9` and `port del vm9` leave nothing behind; `port del vm1` of a port that the file has
// leaves an edit that takes it away, and lies there until the file no longer has it.
#pragma once

#include <string>
#include <vector>

#include "control/changes/edit.h"

namespace vmnat::control {

enum class Lasting { UntilRestart, Persistent };

// What a script wants to be there from now on; without `value`: that the thing is not there.
struct Wish {
  ThingId id;
  std::optional<config::Node> value = {};
  std::string file = {};  // whose lines `value` has
};

struct Overlay {
  std::vector<Edit> persistent, until_restart;

  [[nodiscard]] bool is_empty() const { return persistent.empty() && until_restart.empty(); }
};

// An edit that cannot be made, in a sentence such as "port vm9 (by a script): the configuration file has it, too".
struct Refusal {
  ThingId id;
  std::string sentence;
};

// Puts the overlay on the file's document. Answers the edits that cannot be made; the others are.
std::vector<Refusal> lay_over(const Overlay& overlay, config::Document& document);

// The overlay that makes the wish come true on top of the file.
Overlay with_wish(Overlay overlay, const Wish& wish, Lasting lasting, const config::Document& file);

// The overlay without edits that have become pointless: what they take away, or drain, is no longer there.
Overlay without_pointless(Overlay overlay, const config::Document& file);

}  // namespace vmnat::control
