// SPDX-License-Identifier: Apache-2.0
// reference.yaml: every key with its default, its sentence above it and its example behind it. The keys of a
// list's elements stand in the comment above the list.
#include <sstream>

#include "control/config/config_files.h"
#include "control/config/keys_network.h"

namespace vmnat::config {
namespace {

constexpr std::size_t kWidth = 118;
constexpr const char* kHead =
    R"(# Every key of vmnat's configuration, with its default. See vmnat.yaml(5).
#
# Keys that have no default (marked "required") hold an example. Where the default says little about the form,
# an example stands behind "#:", written as it would stand in place of the default. Keys marked "live" change with
# a reload, all others with a restart.
#
# Made from the tables control/config/keys_*.h by `ninja -C build configs`.
)";

class Page {
 public:
  explicit Page(std::string head) : text_(std::move(head)) {}

  // A comment, `depth` steps into it; what does not fit into its first line goes on one step deeper.
  void comment(const std::string& words, std::size_t depth = 0) {
    const std::string start(indent_, ' ');
    std::string line = start + '#' + std::string(2 * depth, ' ');
    std::istringstream all(words);
    for (std::string word; all >> word; line += ' ' + word)
      if (line.size() + 1 + word.size() > kWidth) {
        text_ += line + '\n';
        line = start + '#' + std::string(depth == 0 ? 0 : 2 * depth + 2, ' ');
      }
    text_ += line + '\n';
  }
  void line(const std::string& text) { text_ += std::string(indent_, ' ') + text + '\n'; }
  void blank() { text_ += '\n'; }

  template <typename Body>
  void indented(std::size_t by, Body body) {
    indent_ += by;
    body();
    indent_ -= by;
  }
  // An element of a list: its first line that is no comment gets the dash.
  template <typename Body>
  void element(Body body) {
    std::size_t at = text_.size();
    indented(4, body);
    while (text_[text_.find_first_not_of(' ', at)] == '#') at = text_.find('\n', at) + 1;
    text_[at + indent_ + 2] = '-';
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
  std::size_t indent_ = 0;
};

// " 68 to 9600.", or nothing.
template <typename Form>
std::string range_of(const Form& form) {
  if constexpr (requires { form.highest; })
    return form.highest < 0xffffffff
               ? " " + std::to_string(form.lowest) + " to " + std::to_string(form.highest) + "."
               : "";
  else if constexpr (requires { form.form; })
    return range_of(form.form);
  else
    return "";
}

// Of an element's key; whether a change is live is the list's to say.
template <typename Row>
std::string element_sentence(const Row& key) {
  return (key.traits.is_required ? "Required. " : "") + std::string{key.says} + range_of(key.form);
}

template <typename Row>
std::string sentence(const Row& key) {
  return element_sentence(key) + (key.traits.is_live ? " Live." : "");
}

template <typename S>
void describe_keys(Page& page, std::size_t depth);

// " Default: client.", where there is one.
template <typename S, typename T, ScalarForm Form>
std::string default_sentence(const Key<S, T, Form>& key) {
  if constexpr (requires { key.form.is_given(defaults<S>().*key.member); }) return "";
  if (key.traits.is_required || key.traits.default_varies) return "";
  return " Default: " + key.form.text(defaults<S>().*key.member) + ".";
}
template <typename Row>
std::string default_sentence(const Row&) {
  return "";
}

// "mode: client: QEMU listens on the socket; server: vmnatd does. Default: client."
template <typename S, typename T, typename Form>
void describe_key(Page& page, const Key<S, T, Form>& key, std::size_t depth) {
  page.comment(std::string{key.name} + ": " + element_sentence(key) + default_sentence(key), depth);
  if constexpr (std::is_same_v<Form, Lines>) describe_keys<typename T::value_type>(page, depth + 1);
  if constexpr (requires { key.form.is_short(defaults<T>()); }) describe_keys<T>(page, depth + 1);
  if constexpr (std::is_same_v<Form, LineOr>) describe_keys<typename T::value_type>(page, depth + 1);
}

template <typename S>
void describe_keys(Page& page, std::size_t depth) {
  for_each_key<S>([&](const auto& key) { describe_key(page, key, depth); });
}

template <typename S>
void add_keys(Page& page);

template <typename Row>
void add_value(Page& page, const Row& key, const std::string& value) {
  const std::string example{key.traits.example};
  if (value.empty() || key.traits.is_required) return page.line(std::string{key.name} + ": " + example);
  page.line(std::string{key.name} + ": " + value + (example.empty() ? "" : "  #: " + example));
}

template <typename S, typename T, typename Form>
void add_key(Page& page, const Key<S, T, Form>& key) {
  page.comment(sentence(key));
  if constexpr (ScalarForm<Form>) {
    std::string value = key.form.text(defaults<S>().*key.member);
    if constexpr (std::is_same_v<T, std::string>)
      if (value.empty()) value = R"("")";
    if constexpr (std::is_same_v<T, FileMode>)
      value = '"' + value + '"';  // else YAML 1.1 reads an octal number
    add_value(page, key, value);
  } else if constexpr (requires { key.form.is_short(defaults<T>()); }) {
    describe_keys<T>(page, 1);
    add_value(page, key, R"("")");
  } else if constexpr (requires { key.form.listed; }) {
    add_value(page, key, std::string{to_word(defaults<S>().*key.member.*key.form.word)});
  } else if constexpr (requires { key.form.traits.word; }) {
    add_value(page, key, key.form.traits.word.empty() ? "[]" : std::string{key.form.traits.word});
  } else if constexpr (std::is_same_v<Form, Lines>) {
    describe_keys<typename T::value_type>(page, 1);
    add_value(page, key, "[]");
  } else if constexpr (std::is_same_v<Form, LineOr>) {
    describe_keys<typename T::value_type>(page, 1);
    add_value(page, key, std::string{key.form.word});
  } else {
    page.line(std::string{key.name} + ":");
    if constexpr (std::is_same_v<Form, Map>)
      page.indented(2, [&] { add_keys<T>(page); });
    else if constexpr (std::is_same_v<Form, MapIfGiven>)
      page.indented(2, [&] { add_keys<typename T::value_type>(page); });
    else
      page.element([&] { add_keys<typename T::value_type>(page); });
  }
}

template <typename S>
void add_keys(Page& page) {
  for_each_key<S>([&](const auto& key) { add_key(page, key); });
}

}  // namespace

std::string reference_yaml() {
  Page page(kHead);
  for_each_key<Config>([&](const auto& key) {
    page.blank();
    add_key(page, key);
  });
  return page.take();
}

}  // namespace vmnat::config
