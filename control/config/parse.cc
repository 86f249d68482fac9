// SPDX-License-Identifier: Apache-2.0
// One function for each form: it asks the section for the key, and has the form read what stands there.
#include "control/config/parse.h"

#include "control/config/keys_network.h"

namespace vmnat::config {
namespace {

template <typename S>
void read_keys(Section& section, S& into);

// Reads a text into a value; answers what is wrong with the text, or nothing.
template <ScalarForm Form, typename T>
std::optional<std::string> read_text(const Form& form, std::string_view text, T& into) {
  auto value = form.read(text);
  if (!value) return std::move(value).error();
  into = *std::move(value);
  return std::nullopt;
}

template <ScalarForm Form, typename T>
void read(Section& section, std::string_view name, const Form& form, T& into) {
  section.scalar(name, [&](std::string_view text) { return read_text(form, text, into); });
}

void refuse_empty(Section& section, std::string_view name, std::string_view why) {
  if (!why.empty())
    section.findings().complain_at(section.path_of(name), std::string{name} + ": " + std::string{why});
}

template <typename Item, typename T>
void read(Section& section, std::string_view name, const List<Item>& form, std::vector<T>& into) {
  const auto read_item = [&](std::string_view text, T& item) { return read_text(form.item, text, item); };
  if (section.list(name, into, read_item, form.traits.word) && into.empty())
    refuse_empty(section, name, form.traits.if_empty);
}

template <typename Item, typename T>
void read(Section& section, std::string_view name, const OneOrMore<Item>& form, std::vector<T>& into) {
  if (section.is_list(name))
    return read(section, name, List<Item>{form.item, {.if_empty = form.if_empty}}, into);
  section.scalar(name, [&](std::string_view text) { return read_text(form, text, into); });
}

template <typename S, typename E, typename Item>
void read(Section& section, std::string_view name, const WordOrList<S, E, Item>& form, S& into) {
  if (!section.is_list(name))
    return section.scalar(
        name, [&](std::string_view text) { return read_text(OneOf<E>{}, text, into.*form.word); });
  read(section, name, List<Item>{form.item, {}}, into.*form.list);
  into.*form.word = form.listed;
}

template <typename Name, typename Form, typename T>
void read(Section& section, std::string_view name, const Entries<Name, Form>& form,
          std::vector<Entry<T>>& into) {
  section.entries(name, [&](Section& map, const std::string& key) {
    Entry<T> entry;
    if (const auto complaint = read_text(form.name, key, entry.name))
      return map.complain_of_name(key, *complaint);
    read(map, key, form.value, entry.value);
    into.push_back(std::move(entry));
  });
}

template <typename S>
void read(Section& section, std::string_view name, Map, S& into) {
  section.section(name, into, read_keys<S>);
}

template <typename S>
void read(Section& section, std::string_view name, MapIfGiven, std::optional<S>& into) {
  if (S value; section.section(name, value, read_keys<S>)) into = std::move(value);
}

template <typename S>
void read(Section& section, std::string_view name, LineOr form, std::optional<S>& into) {
  if (S value; section.section(name, value, read_keys<S>, form.word)) into = std::move(value);
}

template <typename S, typename Form>
void read(Section& section, std::string_view name, const LineOrOnly<S, Form>& form, S& into) {
  if (section.is_map(name))
    section.section(name, into, read_keys<S>);
  else
    section.scalar(name,
                   [&](std::string_view text) { return read_text(form.form, text, into.*form.member); });
}

template <typename S>
void read(Section& section, std::string_view name, Lines, std::vector<S>& into) {
  section.sections(name, into, read_keys<S>);
}

template <typename S>
void read(Section& section, std::string_view name, Blocks form, std::vector<S>& into) {
  if (section.sections(name, into, read_keys<S>) && into.empty()) refuse_empty(section, name, form.if_empty);
}

template <typename S, typename T, typename Form>
void read_key(Section& section, const Key<S, T, Form>& key, S& into) {
  if (key.traits.is_required && !section.given(key.name)) return section.miss(key.name);
  read(section, key.name, key.form, into.*key.member);
  if (key.traits.is_planned && !(into.*key.member == defaults<S>().*key.member))
    section.findings().complain_at(section.path_of(key.name), "not supported yet: " + std::string{key.name});
}

void check_exactly_one(Section& section, const ExactlyOne& one) {
  const bool first = section.given(one.first), second = section.given(one.second);
  if (first == second)
    section.findings().complain(section.at(), std::string{first ? one.if_both : one.if_neither});
}

template <typename S>
void read_keys(Section& section, S& into) {
  for_each_key<S>([&](const auto& key) { read_key(section, key, into); });
  if constexpr (!kExactlyOne<S>.first.empty()) check_exactly_one(section, kExactlyOne<S>);
}

void require_uplink(Section& file, const Config& config) {
  const bool are_several = !config.uplinks.empty() || (file.given("uplinks") && !file.is_list("uplinks"));
  if (!file.given("uplink") && !are_several) return file.miss("uplink");
  if (file.given("uplink") && !config.uplinks.empty())
    file.findings().complain_at(indexed("uplinks", 0),
                                "uplinks: they stand in place of uplink; give one of the two");
}

}  // namespace

void parse_config(const Node& document, Config& into, Findings& findings) {
  Section file(document, "", findings);
  if (document.kind != Node::Kind::Map && document.kind != Node::Kind::Null) return;
  read_keys(file, into);
  require_uplink(file, into);
  file.refuse_the_rest();
}

}  // namespace vmnat::config
