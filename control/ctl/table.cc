// SPDX-License-Identifier: Apache-2.0
// Cells to text, and text to columns.
#include "control/ctl/table.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <ostream>

namespace vmnat::ctl {
namespace {

// What a terminal would act upon becomes '?': names may come from a VM (its DHCP hostname).
std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return (c >= 0 && c < ' ') || c == 0x7f; }, '?');
  return text;
}

std::string joined(const Json& list) {
  std::string text;
  for (const Json& item : list) text += (text.empty() ? "" : ",") + plain_text(item);
  return text.empty() ? "-" : text;
}

std::string pairs(const Json& object) {
  std::string text;
  for (const auto& [key, value] : object.items())
    text += (text.empty() ? "" : ", ") + printable(key) + " " + plain_text(value);
  return text.empty() ? "-" : text;
}

}  // namespace

std::string plain_text(const Json& value) {
  if (value.is_null()) return "-";
  if (const auto* text = value.get_ptr<const std::string*>()) return text->empty() ? "-" : printable(*text);
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_array()) return joined(value);
  if (value.is_object()) return pairs(value);
  return value.dump();
}

std::string one_decimal(const Json& number) {
  return number.is_number() ? fmt::format("{:.1f}", number.get<double>()) : plain_text(number);
}

// Three digits of it, with a decimal prefix.
std::string scaled(const Json& number) {
  if (!number.is_number()) return plain_text(number);
  static constexpr std::string_view kPrefixes[] = {"", " k", " M", " G", " T"};
  constexpr double kStep = 1000, kRounded = 999.5;
  auto value = number.get<double>();
  std::size_t prefix = 0;
  for (; value >= kRounded && prefix + 1 < std::size(kPrefixes); ++prefix) value /= kStep;
  const int decimals = prefix == 0 || value >= kRounded / 10 ? 0 : value >= kRounded / 100 ? 1 : 2;
  return fmt::format("{:.{}f}{}", value, decimals, kPrefixes[prefix]);
}

std::string duration_text(const Json& seconds) {
  if (!seconds.is_number()) return plain_text(seconds);
  const auto total = seconds.get<std::uint64_t>();
  std::string text;
  if (total >= 86400) text += fmt::format("{}d ", total / 86400);
  if (total >= 3600) text += fmt::format("{}h ", total / 3600 % 24);
  if (total >= 60) text += fmt::format("{}m ", total / 60 % 60);
  return text + fmt::format("{}s", total % 60);
}

namespace {

// "192.168.122.10,192.168.122.11 +3": the address of what is owned, or its MAC where it may have any address.
std::string owned_text(const Json& owned) {
  constexpr std::size_t kShown = 2;
  if (!owned.is_array()) return plain_text(owned);
  Json names = Json::array();
  for (const Json& one : owned)
    if (names.size() < kShown && one.is_object())
      names.push_back(one.value("address", Json()).is_null() ? one.value("mac", Json()) : one["address"]);
  return plain_text(names) + (owned.size() > kShown ? fmt::format(" +{}", owned.size() - kShown) : "");
}

std::string cell_text(admin::Cell cell, const Json& value) {
  switch (cell) {
    case admin::Cell::Plain:
      break;
    case admin::Cell::Percent:
      return value.is_number() ? fmt::format("{:.1f} %", value.get<double>() * 100) : plain_text(value);
    case admin::Cell::OneDecimal:
      return one_decimal(value);
    case admin::Cell::Scaled:
      return scaled(value);
    case admin::Cell::Expiry:
      return value.is_null() ? "never" : plain_text(value);
    case admin::Cell::Owned:
      return owned_text(value);
  }
  return plain_text(value);
}

}  // namespace

Table::Table(std::span<const admin::Column> columns, std::ostream& out)
    : columns_(columns), out_(out), widths_(columns_.size()), right_(columns_.size(), false) {
  for (std::size_t i = 0; i < columns_.size(); ++i) widths_[i] = columns_[i].title.size();
}

void Table::add(const Json& object) {
  std::vector<Cell> cells;
  for (const admin::Column& column : columns_) {
    const auto at = object.is_object() ? object.find(column.key) : object.end();
    const Json value = at == object.end() ? Json() : *at;
    cells.push_back({cell_text(column.cell, value), value.is_number()});
  }
  page_.push_back(std::move(cells));
  if (page_.size() == kPageRows) print_page();
}

void Table::finish() {
  if (!page_.empty() || !titles_printed_) print_page();
  out_.flush();
}

void Table::print_page() {
  for (const auto& cells : page_)
    for (std::size_t i = 0; i < cells.size(); ++i) widths_[i] = std::max(widths_[i], cells[i].text.size());
  if (!titles_printed_) {
    for (std::size_t i = 0; i < columns_.size(); ++i)
      right_[i] =
          std::any_of(page_.begin(), page_.end(), [=](const auto& cells) { return cells[i].is_number; });
    std::vector<Cell> titles;
    for (const admin::Column& column : columns_) titles.push_back({std::string{column.title}, false});
    print_line(titles);
    titles_printed_ = true;
  }
  for (const auto& cells : page_) print_line(cells);
  page_.clear();
}

void Table::print_line(const std::vector<Cell>& cells) {
  std::string line;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (i > 0) line += "  ";
    line += right_[i] ? fmt::format("{:>{}}", cells[i].text, widths_[i])
                      : fmt::format("{:<{}}", cells[i].text, widths_[i]);
  }
  line.erase(line.find_last_not_of(' ') + 1);
  out_ << line << '\n';
}

}  // namespace vmnat::ctl
