// SPDX-License-Identifier: Apache-2.0
// Writes the keys in the order of their rows: sections as blocks, lists and short sections in one line.
#include "control/config/dump.h"

#include <algorithm>
#include <yaml-cpp/emitter.h>

#include "control/config/keys_network.h"

namespace vmnat::config {
namespace {

using YAML::Emitter;

template <typename S>
void write_keys(Emitter& out, const S& section);

// Readers of YAML 1.1, such as PyYAML, take these for booleans, and "52:54:00:00:00:01" for a number in base
// 60.
bool is_mistaken_elsewhere(std::string_view text) {
  constexpr std::string_view kBooleans[] = {"on", "off", "yes", "no", "y", "n"};
  if (std::ranges::find(kBooleans, text) != std::end(kBooleans)) return true;
  constexpr auto kNone = std::string_view::npos;
  return text.find(':') != kNone && text.find_first_not_of("0123456789:") == kNone;
}

template <ScalarForm Form, typename T>
void write_scalar(Emitter& out, const Form& form, const T& value) {
  const std::string text = form.text(value);
  if (form.is_free_text(value) || is_mistaken_elsewhere(text)) out << YAML::DoubleQuoted;
  out << text;
}

template <typename S>
void write_line(Emitter& out, const S& section) {
  out << YAML::Flow;
  write_keys(out, section);
}

template <ScalarForm Form, typename T>
void write(Emitter& out, const Form& form, const T& value) {
  write_scalar(out, form, value);
}

template <typename Item, typename T>
void write(Emitter& out, const List<Item>& form, const std::vector<T>& values) {
  out << YAML::Flow << YAML::BeginSeq;
  for (const T& value : values) write_scalar(out, form.item, value);
  out << YAML::EndSeq;
}

template <typename S>
void write(Emitter& out, Map, const S& section) {
  write_keys(out, section);
}

template <typename S>
void write(Emitter& out, MapIfGiven, const std::optional<S>& section) {
  write_keys(out, *section);
}

template <typename S>
void write(Emitter& out, LineOr form, const std::optional<S>& section) {
  if (section)
    write_line(out, *section);
  else
    out << std::string{form.word};
}

template <typename S, typename Form>
void write(Emitter& out, const LineOrOnly<S, Form>& form, const S& section) {
  if (form.is_short(section))
    write_scalar(out, form.form, section.*form.member);
  else
    write_line(out, section);
}

template <typename S>
void write(Emitter& out, Lines, const std::vector<S>& sections) {
  if (sections.empty()) out << YAML::Flow;
  out << YAML::BeginSeq;
  for (const S& section : sections) write_line(out, section);
  out << YAML::EndSeq;
}

template <typename S>
void write(Emitter& out, Blocks, const std::vector<S>& sections) {
  out << YAML::BeginSeq;
  for (const S& section : sections) write_keys(out, section);
  out << YAML::EndSeq;
}

template <typename S, typename T, typename Form>
bool is_left_out(const Key<S, T, Form>& key, const S& section) {
  if (key.traits.applies != nullptr && !key.traits.applies(section)) return true;
  if constexpr (std::is_same_v<Form, MapIfGiven>) return !(section.*key.member).has_value();
  if constexpr (requires { key.form.is_given(section.*key.member); })
    return !key.form.is_given(section.*key.member);
  return false;
}

// Does a word stand for the list? A list that may not be empty, and is, was not given.
template <typename S, typename T, typename Item>
bool is_word(const Key<S, T, List<Item>>& key, const S& section) {
  if (key.traits.is_word != nullptr) return key.traits.is_word(section);
  return (section.*key.member).empty() && !key.form.traits.if_empty.empty();
}

template <typename S, typename T, typename Item>
void write_value(Emitter& out, const Key<S, T, List<Item>>& key, const S& section) {
  if (is_word(key, section))
    out << std::string{key.form.traits.word};
  else
    write(out, key.form, section.*key.member);
}
template <typename S, typename T, typename Form>
void write_value(Emitter& out, const Key<S, T, Form>& key, const S& section) {
  write(out, key.form, section.*key.member);
}

template <typename S, typename T>
void write_key(Emitter&, const Key<S, T, PartOfAnother>&, const S&) {}
template <typename S, typename T, typename Form>
void write_key(Emitter& out, const Key<S, T, Form>& key, const S& section) {
  if (is_left_out(key, section)) return;
  out << YAML::Key << std::string{key.name} << YAML::Value;
  write_value(out, key, section);
}

template <typename S>
void write_keys(Emitter& out, const S& section) {
  out << YAML::BeginMap;
  for_each_key<S>([&](const auto& key) { write_key(out, key, section); });
  out << YAML::EndMap;
}

}  // namespace

std::string dump_config(const Config& config) {
  Emitter out;
  write_keys(out, config);
  return std::string{out.c_str()} + '\n';
}

}  // namespace vmnat::config
