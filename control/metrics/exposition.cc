// SPDX-License-Identifier: Apache-2.0
#include "control/metrics/exposition.h"

#include <charconv>
#include <fmt/format.h>

namespace vmnat::metrics {
namespace {

std::string_view without(std::string_view name, std::string_view ending) {
  if (name.ends_with(ending)) name.remove_suffix(ending.size());
  return name;
}

// OpenMetrics names a family without its samples' ending.
std::string_view family_name(const Family& family, http::Exposition form) {
  if (form == http::Exposition::Text) return family.name;
  if (family.kind == Kind::Counter) return without(family.name, "_total");
  return family.kind == Kind::Info ? without(family.name, "_info") : family.name;
}

// The text format knows no type for what is always 1.
std::string_view type_name(Kind kind, http::Exposition form) {
  if (kind == Kind::Counter) return "counter";
  return kind == Kind::Info && form == http::Exposition::OpenMetrics ? "info" : "gauge";
}

}  // namespace

void add_label(std::string& labels, std::string_view name, std::string_view value) {
  if (!labels.empty()) labels += ',';
  labels.append(name).append("=\"");
  for (const char c : value) {
    if (c == '\n') {
      labels += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') labels += '\\';
    labels += c;
  }
  labels += '"';
}

std::string label(std::string_view name, std::string_view value) {
  std::string labels;
  add_label(labels, name, value);
  return labels;
}

// Helps have no line ends, backslashes or quotes: a test says so.
void ExpositionWriter::begin(const Family& family) {
  name_ = family.name;
  const std::string_view name = family_name(family, form_);
  fmt::format_to(std::back_inserter(out_), "# HELP {} {}\n# TYPE {} {}\n", name, family.help, name,
                 type_name(family.kind, form_));
}

void ExpositionWriter::begin_sample(std::string_view labels) {
  out_.append(name_);
  if (!labels.empty()) out_.append("{").append(labels).append("}");
  out_ += ' ';
}

void ExpositionWriter::sample(std::string_view labels, std::uint64_t value) {
  begin_sample(labels);
  char digits[20];
  const auto [end, error] = std::to_chars(digits, digits + sizeof digits, value);
  out_.append(digits, end).append("\n");
}

void ExpositionWriter::sample(std::string_view labels, double value) {
  begin_sample(labels);
  fmt::format_to(std::back_inserter(out_), "{}\n", value);
}

void ExpositionWriter::end() {
  if (form_ == http::Exposition::OpenMetrics) out_ += "# EOF\n";
}

}  // namespace vmnat::metrics
