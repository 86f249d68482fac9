// SPDX-License-Identifier: Apache-2.0
// Writes the keys in the order of their rows: sections as blocks, lists and short sections in one line.
#include "control/config/dump.h"

#include <algorithm>
#include <yaml-cpp/emitter.h>

#include "control/config/keys_network.h"
#include "control/config/section.h"

namespace vmnat::config {
namespace {

// What is written, and the remarks behind its lines. A path as a Section names it; within a line there are none.
class Page {
 public:
  explicit Page(const Origins* origins) : origins_(origins) {}

  YAML::Emitter& out() { return out_; }
  [[nodiscard]] std::string text() const { return std::string{out_.c_str()} + '\n'; }

  // "# script"
  void remark(const std::string& path) {
    if (is_remarked(path)) out_ << YAML::Comment(std::string{to_text(origin_of(path))});
  }
  // "# 203.0.113.7: script", of elements that stand in one line.
  template <typename Text>
  void remark_elements(const std::string& path, std::size_t count, Text text_of_element) {
    std::string all;
    for (std::size_t i = 0; i < count; ++i)
      if (const std::string element = indexed(path, i); is_remarked(element))
        all +=
            (all.empty() ? "" : ", ") + text_of_element(i) + ": " + std::string{to_text(origin_of(element))};
    if (!all.empty()) out_ << YAML::Comment(all);
  }
  [[nodiscard]] bool is_default(const std::string& path) const {
    return origins_ != nullptr && origin_of(path) == Origin::Default;
  }

 private:
  [[nodiscard]] Origin origin_of(const std::string& path) const { return origin_at(*origins_, path); }
  [[nodiscard]] bool is_remarked(const std::string& path) const {
    return origins_ != nullptr && !path.empty() && origin_of(path) != Origin::File;
  }

  YAML::Emitter out_;
  const Origins* origins_;  // null: without remarks
};

const std::string kNowhere;  // the path within a line

template <typename S>
void write_keys(Page& page, const S& section, const std::string& path);

// Readers of YAML 1.1, such as PyYAML, take these for booleans, and "52:54:00:00:00:01" for a number in base
// 60.
bool is_mistaken_elsewhere(std::string_view text) {
  constexpr std::string_view kBooleans[] = {"on", "off", "yes", "no", "y", "n"};
  if (std::ranges::find(kBooleans, text) != std::end(kBooleans)) return true;
  constexpr auto kNone = std::string_view::npos;
  return text.find(':') != kNone && text.find_first_not_of("0123456789:") == kNone;
}

template <ScalarForm Form, typename T>
void write_scalar(Page& page, const Form& form, const T& value) {
  const std::string text = form.text(value);
  if (form.is_free_text(value) || is_mistaken_elsewhere(text)) page.out() << YAML::DoubleQuoted;
  page.out() << text;
}

template <typename S>
void write_line(Page& page, const S& section) {
  page.out() << YAML::Flow;
  write_keys(page, section, kNowhere);
}

template <ScalarForm Form, typename T>
void write(Page& page, const Form& form, const T& value, const std::string& path) {
  write_scalar(page, form, value);
  page.remark(path);
}

template <typename Item, typename T>
void write(Page& page, const List<Item>& form, const std::vector<T>& values, const std::string& path) {
  page.out() << YAML::Flow << YAML::BeginSeq;
  for (const T& value : values) write_scalar(page, form.item, value);
  page.out() << YAML::EndSeq;
  if (path.empty() || page.is_default(path) || values.empty()) return page.remark(path);
  page.remark_elements(path, values.size(), [&](std::size_t i) { return form.item.text(values[i]); });
}

template <typename Item, typename T>
void write(Page& page, const OneOrMore<Item>& form, const std::vector<T>& values, const std::string& path) {
  if (values.size() != 1) return write(page, List<Item>{form.item, {}}, values, path);
  write_scalar(page, form.item, values.front());
  page.remark(path);
}

template <typename S, typename E, typename Item>
void write(Page& page, const WordOrList<S, E, Item>& form, const S& value, const std::string& path) {
  if (value.*form.word == form.listed) return write(page, List<Item>{form.item, {}}, value.*form.list, path);
  page.out() << std::string{to_word(value.*form.word)};
  page.remark(path);
}

template <typename Name, typename Form, typename T>
void write(Page& page, const Entries<Name, Form>& form, const std::vector<Entry<T>>& entries,
           const std::string& path) {
  page.out() << YAML::Flow << YAML::BeginMap;
  for (const Entry<T>& entry : entries) {
    page.out() << YAML::Key << YAML::DoubleQuoted << entry.name << YAML::Value;
    write(page, form.value, entry.value, kNowhere);
  }
  page.out() << YAML::EndMap;
  page.remark(path);
}

template <typename S>
void write(Page& page, Map, const S& section, const std::string& path) {
  write_keys(page, section, path);
}

template <typename S>
void write(Page& page, MapIfGiven, const std::optional<S>& section, const std::string& path) {
  write_keys(page, *section, path);
}

template <typename S>
void write(Page& page, LineOr form, const std::optional<S>& section, const std::string& path) {
  if (section)
    write_line(page, *section);
  else
    page.out() << std::string{form.word};
  page.remark(path);
}

template <typename S, typename Form>
void write(Page& page, const LineOrOnly<S, Form>& form, const S& section, const std::string& path) {
  if (form.is_short(section))
    write_scalar(page, form.form, section.*form.member);
  else
    write_line(page, section);
  page.remark(path);
}

template <typename S>
void write(Page& page, Lines, const std::vector<S>& sections, const std::string& path) {
  if (sections.empty()) page.out() << YAML::Flow;
  page.out() << YAML::BeginSeq;
  for (std::size_t i = 0; i < sections.size(); ++i) {
    write_line(page, sections[i]);
    page.remark(path.empty() ? kNowhere : indexed(path, i));
  }
  page.out() << YAML::EndSeq;
  if (sections.empty()) page.remark(path);
}

template <typename S>
void write(Page& page, Blocks, const std::vector<S>& sections, const std::string& path) {
  page.out() << YAML::BeginSeq;
  for (std::size_t i = 0; i < sections.size(); ++i) write_keys(page, sections[i], indexed(path, i));
  page.out() << YAML::EndSeq;
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
  return (section.*key.member).empty() && !key.form.traits.if_empty.empty();
}

template <typename S, typename T, typename Item>
void write_value(Page& page, const Key<S, T, List<Item>>& key, const S& section, const std::string& path) {
  if (!is_word(key, section)) return write(page, key.form, section.*key.member, path);
  page.out() << std::string{key.form.traits.word};
  page.remark(path);
}
template <typename S, typename T, typename Form>
void write_value(Page& page, const Key<S, T, Form>& key, const S& section, const std::string& path) {
  write(page, key.form, section.*key.member, path);
}

template <typename S, typename T, typename Form>
void write_key(Page& page, const Key<S, T, Form>& key, const S& section, const std::string& path) {
  if (is_left_out(key, section)) return;
  page.out() << YAML::Key << std::string{key.name} << YAML::Value;
  write_value(page, key, section, path);
}

// `path` of a section in lines; kNowhere of one within a line.
template <typename S>
void write_keys(Page& page, const S& section, const std::string& path) {
  const bool has_paths = std::is_same_v<S, Config> || !path.empty();
  page.out() << YAML::BeginMap;
  for_each_key<S>([&](const auto& key) {
    const std::string start = path.empty() ? "" : path + '.';
    write_key(page, key, section, has_paths ? start + std::string{key.name} : kNowhere);
  });
  page.out() << YAML::EndMap;
}

std::string dump(const Config& config, const Origins* origins) {
  Page page(origins);
  write_keys(page, config, kNowhere);
  return page.text();
}

}  // namespace

std::string dump_config(const Config& config) {
  return dump(config, nullptr);
}

std::string dump_config(const Config& config, const Origins& origins) {
  return dump(config, &origins);
}

}  // namespace vmnat::config
