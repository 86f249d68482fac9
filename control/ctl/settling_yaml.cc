// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/settling_yaml.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "control/config/load.h"

namespace vmnat::ctl {
namespace {

// Without what YAML has no place for in a comment: controls, and bytes that are no UTF-8.
std::string in_one_line(std::string_view text) {
  using nlohmann::json;
  const std::string valid = json(text).dump(-1, ' ', false, json::error_handler_t::replace);
  std::string line = json::parse(valid).get<std::string>();
  std::ranges::replace_if(
      line, [](unsigned char c) { return c < ' ' || c == 0x7f; }, ' ');
  return line;
}

}  // namespace

// A string of JSON is one of YAML. What is no UTF-8 is replaced.
std::string yaml_quoted(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

void SettlingYaml::line(unsigned indent, std::string text, std::string fallback) {
  lines_.push_back({.indent = indent, .text = std::move(text), .fallback = std::move(fallback)});
}

void SettlingYaml::comment(unsigned indent, std::string_view text) {
  lines_.push_back({.indent = indent, .text = "# " + in_one_line(text), .fallback = {}, .is_comment = true});
}

std::string SettlingYaml::text() const {
  std::string all;
  for (const Line& line : lines_) all += std::string(line.indent, ' ') + line.text + '\n';
  return all;
}

// By line: the first thing that is wrong with it.
std::map<std::size_t, std::string> SettlingYaml::refusals() const {
  std::map<std::size_t, std::string> all;
  const auto loaded =
      config::load_config_text(text(), "", {.resolvers = [] { return std::vector<net::Ipv4Addr>{}; }});
  if (loaded) return all;
  for (const config::Problem& problem : loaded.error())
    if (problem.at.line <= lines_.size()) all.emplace(problem.at.line - 1, problem.message);
  return all;
}

void SettlingYaml::comment_out(std::size_t at) {
  if (!lines_[at].is_comment) lines_[at].text.insert(0, "# ");
  lines_[at].is_comment = true;
}

// Behind a line, up to where what belongs to it ends.
std::size_t SettlingYaml::end_of(std::size_t at) const {
  std::size_t end = at + 1;
  while (end < lines_.size() && lines_[end].indent > lines_[at].indent) ++end;
  return end;
}

// A key whose list has lost its last element goes with it: without a value it is no list.
void SettlingYaml::end_empty_list(std::size_t element) {
  std::size_t key = element;
  while (key > 0 && (lines_[key].is_comment || lines_[key].indent >= lines_[element].indent)) --key;
  const auto at = [&](std::size_t i) { return lines_.begin() + static_cast<std::ptrdiff_t>(i); };
  if (std::all_of(at(key + 1), at(end_of(key)), [](const Line& line) { return line.is_comment; }))
    comment_out(key);
}

void SettlingYaml::refuse(std::size_t at, const std::string& why) {
  const unsigned indent = lines_[at].indent;
  const bool is_element = lines_[at].text.starts_with("- ");
  const std::string fallback = std::exchange(lines_[at].fallback, {});
  const std::size_t end = fallback.empty() ? end_of(at) : at + 1;
  for (std::size_t i = at; i < end; ++i) comment_out(i);
  const auto here = lines_.begin() + static_cast<std::ptrdiff_t>(at);
  lines_.insert(here,
                {.indent = indent, .text = "# " + in_one_line(why), .fallback = {}, .is_comment = true});
  const auto after = lines_.begin() + static_cast<std::ptrdiff_t>(at) + 2;
  if (!fallback.empty())
    lines_.insert(after, {.indent = indent, .text = fallback, .fallback = {}});
  else if (is_element)
    end_empty_list(at);
}

// Each round takes at least one line away, and none of a fallback.
std::string SettlingYaml::settled_text() && {
  for (auto refused = refusals(); !refused.empty(); refused = refusals()) {
    const std::size_t before = lines_.size();
    // From the end: the others keep their place.
    std::for_each(refused.rbegin(), refused.rend(), [this](const auto& refusal) {
      if (!lines_[refusal.first].is_comment) refuse(refusal.first, refusal.second);
    });
    if (lines_.size() == before) break;
  }
  return text();
}

}  // namespace vmnat::ctl
