// SPDX-License-Identifier: Apache-2.0
// What every section does alike: find keys, complain, suggest.
#include "control/config/section.h"

#include <algorithm>
#include <numeric>

namespace vmnat::config {
namespace {

// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (Damerau-Levenshtein,
// optimal string alignment).
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), previous(b.size() + 1), current(b.size() + 1);
  std::iota(previous.begin(), previous.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      current[j] = std::min({previous[j] + 1, current[j - 1] + 1, replaced});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) current[j] = std::min(current[j], before[j - 2] + 1);
    }
    before.swap(previous);
    previous.swap(current);
  }
  return previous[b.size()];
}

std::string kind_of(const Node& node) {
  switch (node.kind) {
    case Node::Kind::Null:
      return "nothing";
    case Node::Kind::Scalar:
      return "'" + node.text + "'";
    case Node::Kind::List:
      return "a list";
    case Node::Kind::Map:
      return "a map";
  }
  return "";
}

}  // namespace

void Findings::complain_at(const std::string& path, const std::string& message) {
  const auto mark = marks.find(path);
  if (mark != marks.end()) complain(mark->second, message);
}

std::string Findings::place(Position of, Position complaint) const {
  const std::string& name = sources.at(of.source).name;
  if (of.line == 0) return "by " + name;
  const std::string line = "at line " + std::to_string(of.line);
  return of.source == complaint.source ? line : line + " of " + name;
}

void Findings::miss(std::string_view key, const std::string& path, Position at) {
  const std::string place = path.empty() ? "the file" : quoted(path.substr(path.rfind('.') + 1));
  complain(at, "key " + quoted(key) + " is missing in " + place);
}

std::string indexed(std::string_view path, std::size_t index) {
  return std::string{path} + "[" + std::to_string(index) + "]";
}

std::string nearest_word(std::string_view word, const std::vector<std::string>& known) {
  constexpr std::size_t kLongestWord = 64;
  if (word.size() > kLongestWord) return "";
  std::string nearest;
  std::size_t nearest_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const bool extends = word.size() >= 3 && (candidate.starts_with(word) || word.starts_with(candidate));
    const std::size_t distance = extends ? 1 : edit_distance(word, candidate);
    if (distance >= nearest_distance) continue;
    nearest = candidate;
    nearest_distance = distance;
  }
  return nearest;
}

Section::Section(const Node& node, std::string path, Findings& findings)
    : node_(node),
      path_(std::move(path)),
      findings_(findings),
      is_map_(node.kind == Node::Kind::Map || node.kind == Node::Kind::Null) {
  if (is_map_) return;
  const std::string subject = path_.empty() ? "the file" : path_.substr(path_.rfind('.') + 1);
  findings_.complain(node.at, subject + ": must be a map (key: value), not " + kind_of(node));
}

std::string Section::path_of(std::string_view key) const {
  return path_.empty() ? std::string{key} : path_ + "." + std::string{key};
}

void Section::scalar(std::string_view key, const ReadText& read) {
  if (const Node* value = find(key)) read_scalar(*value, key, path_of(key), read);
}

void Section::read_scalar(const Node& value, std::string_view key, const std::string& path,
                          const ReadText& read) {
  const std::string* text = scalar_of(value, key);
  if (text == nullptr) return;
  if (const auto complaint = read(*text))
    findings_.complain(value.at, std::string{key} + ": " + *complaint);
  else
    findings_.marks[path] = value.at;
}

const Node* Section::find(std::string_view key) {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.emplace_back(key);
  const auto at = std::find(node_.keys.begin(), node_.keys.end(), key);
  if (at == node_.keys.end()) return nullptr;
  findings_.given.insert(path_of(key));
  return &node_.items[static_cast<std::size_t>(at - node_.keys.begin())];
}

const Node* Section::find_list(std::string_view key, std::string_view word) {
  const Node* value = find(key);
  if (value == nullptr) return nullptr;
  if (value->kind == Node::Kind::List) {
    findings_.marks[path_of(key)] = value->at;
    return value;
  }
  if (is_word(*value, word)) return nullptr;
  const std::string expected = word.empty() ? "a list" : "a list or '" + std::string{word} + "'";
  findings_.complain(value->at, std::string{key} + ": must be " + expected + ", not " + kind_of(*value));
  return nullptr;
}

const std::string* Section::scalar_of(const Node& value, std::string_view key) {
  if (value.kind == Node::Kind::Scalar) return &value.text;
  findings_.complain(value.at, std::string{key} + ": must be a single value, not " + kind_of(value));
  return nullptr;
}

void Section::complain_of_name(std::string_view name, const std::string& what) {
  find(name);
  const auto at = std::find(node_.keys.begin(), node_.keys.end(), name) - node_.keys.begin();
  findings_.complain(node_.key_at[static_cast<std::size_t>(at)],
                     path_.substr(path_.rfind('.') + 1) + ": " + what);
}

void Section::refuse_the_rest() {
  for (std::size_t i = 0; i < node_.keys.size(); ++i) {
    const std::string& key = node_.keys[i];
    const auto first = std::find(node_.keys.begin(), node_.keys.end(), key);
    if (first != node_.keys.begin() + static_cast<std::ptrdiff_t>(i)) {
      findings_.complain(node_.key_at[i], "key '" + key + "' is given twice");
      continue;
    }
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    const std::string near = nearest_word(key, known_);
    findings_.complain(node_.key_at[i],
                       "unknown key '" + key + "'" + (near.empty() ? "" : " (did you mean '" + near + "'?)"));
  }
}

}  // namespace vmnat::config
