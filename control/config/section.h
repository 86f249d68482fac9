// SPDX-License-Identifier: Apache-2.0
// Typed access to one map of the document, that complains of whatever it does not understand.
//
// parse.cc asks a Section for its keys; what was asked is what is known, and any other key in the map is a
// Problem with the nearest known one suggested. A value that cannot be read is a Problem too, and the model's
// member keeps its default: reading goes on, so all problems come out at once.
//
// Findings remembers the position of every value read *well*, by path ("networks[0].mtu"). The checks between
// values look there first: what was misread has no position and takes part in no further check.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "control/config/document.h"
#include "control/config/values.h"

namespace vmnat::config {

struct Findings {
  std::vector<Problem> problems;          // without file names; in no order
  std::vector<Problem> notes;             // what is legal, and not what one would expect; likewise
  std::map<std::string, Position> marks;  // "networks[0].ports[1].name" -> where its value stands
  std::set<std::string> given;            // likewise: every key of the file, well written or not
  std::vector<Source> sources;            // of the positions

  void complain(Position at, std::string message) { problems.push_back({"", at, std::move(message)}); }
  [[nodiscard]] bool has(const std::string& path) const { return marks.contains(path); }
  // Complains that a key is missing in the section `path`, which stands at `at`; "" is the whole file.
  void miss(std::string_view key, const std::string& path, Position at);
  // Complains at a value that was read; does nothing when it was misread (that was said already).
  void complain_at(const std::string& path, const std::string& message);
  // Where something stands, for a complaint about another place: "at line 7", "at line 7 of /etc/vmnat.yaml",
  // "by port vm9 (by a script)".
  [[nodiscard]] std::string place(Position of, Position complaint) const;
};

std::string indexed(std::string_view path, std::size_t index);  // ("networks", 2) -> "networks[2]"
// The word of `known` that `word` is most likely a misspelling of; empty when none is near.
std::string nearest_word(std::string_view word, const std::vector<std::string>& known);

class Section {
 public:
  // A Null node reads as an empty map ("dhcp:" alone); anything else but a map is complained of.
  Section(const Node& node, std::string path, Findings& findings);

  [[nodiscard]] Position at() const { return node_.at; }
  [[nodiscard]] Findings& findings() const { return findings_; }
  [[nodiscard]] std::string path_of(std::string_view key) const;
  // Is the key in the file, well written or not? Makes the key known.
  bool given(std::string_view key) { return find(key) != nullptr; }
  bool is_map(std::string_view key) {
    const Node* const value = find(key);
    return value != nullptr && value->kind == Node::Kind::Map;
  }
  bool is_list(std::string_view key) {
    const Node* const value = find(key);
    return value != nullptr && value->kind == Node::Kind::List;
  }
  void miss(std::string_view key) { findings_.miss(key, path_, at()); }

  // Takes in a scalar's text; answers what is wrong with it, or nothing.
  using ReadText = std::function<std::optional<std::string>(std::string_view text)>;
  void scalar(std::string_view key, const ReadText& read);

  // A list of scalars, each taken in by `read(text, item)`. One that cannot be read still takes its place, so
  // that paths stay true. `word`, when not empty, may stand instead of the list and is the same as leaving
  // the key out. Answers whether a list was given.
  template <typename T, typename ReadItem>
  bool list(std::string_view key, std::vector<T>& into, ReadItem read, std::string_view word = {}) {
    const Node* value = find_list(key, word);
    if (value == nullptr) return false;
    into.assign(value->items.size(), T{});
    for (std::size_t i = 0; i < into.size(); ++i)
      read_scalar(value->items[i], key, indexed(path_of(key), i),
                  [&](std::string_view text) { return read(text, into[i]); });
    return true;
  }

  // A list of maps; `read(Section&, T&)` reads one. Answers whether a list was given.
  template <typename T, typename Read>
  bool sections(std::string_view key, std::vector<T>& into, Read read) {
    const Node* value = find_list(key, {});
    if (value == nullptr) return false;
    into.assign(value->items.size(), T{});
    for (std::size_t i = 0; i < into.size(); ++i) {
      findings_.marks[indexed(path_of(key), i)] = value->items[i].at;
      read_map(value->items[i], indexed(path_of(key), i), into[i], read);
    }
    return true;
  }

  // A map within the map; answers whether it is given. `word`, when not empty, may stand for leaving it out.
  template <typename T, typename Read>
  bool section(std::string_view key, T& into, Read read, std::string_view word = {}) {
    const Node* value = find(key);
    if (value == nullptr || is_word(*value, word)) return false;
    findings_.marks[path_of(key)] = value->at;
    read_map(*value, path_of(key), into, read);
    return true;
  }

  // A map whose keys are names; `read(Section& map, name)` reads the value of each, or complains of the name.
  template <typename Read>
  void entries(std::string_view key, Read read) {
    const Node* value = find(key);
    if (value == nullptr) return;
    findings_.marks[path_of(key)] = value->at;
    Section map(*value, path_of(key), findings_);
    for (const std::string& name : value->keys) read(map, name);
    map.refuse_the_rest();
  }
  void complain_of_name(std::string_view name, const std::string& what);

  // Complains of every key that nobody asked for, and of keys given twice. Called once, after all reading.
  void refuse_the_rest();

 private:
  // The value of a key, or nullptr; makes the key known.
  const Node* find(std::string_view key);
  const Node* find_list(std::string_view key, std::string_view word);
  static bool is_word(const Node& value, std::string_view word) {
    return !word.empty() && value.kind == Node::Kind::Scalar && value.text == word;
  }
  // The scalar's text; complains when it is a list, a map or missing.
  const std::string* scalar_of(const Node& value, std::string_view key);

  void read_scalar(const Node& value, std::string_view key, const std::string& path, const ReadText& read);

  template <typename T, typename Read>
  void read_map(const Node& value, const std::string& path, T& into, Read read) {
    Section inner(value, path, findings_);
    if (inner.is_map_) read(inner, into);
    if (inner.is_map_) inner.refuse_the_rest();
  }

  const Node& node_;
  std::string path_;
  Findings& findings_;
  bool is_map_;
  std::vector<std::string> known_;
};

}  // namespace vmnat::config
