// SPDX-License-Identifier: Apache-2.0
// JSON objects as aligned columns: numbers to the right, all else to the left, no trailing blanks.
//
// Rows come one by one and leave by pages: the widths are those of the first page (or the widest row so far),
// so a list of millions needs the memory of one page and still starts at once.
//
//     ADDRESS         MAC                IDLE_S
//     192.168.122.10  52:54:00:aa:00:01       5
#pragma once

#include <iosfwd>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "control/admin/commands.h"

namespace vmnat::ctl {

using Json = nlohmann::json;

// A value as a person reads it: strings without quotes, "-" for null, lists with commas, {a: 1} as "a 1".
std::string plain_text(const Json& value);
std::string one_decimal(const Json& number);
std::string scaled(const Json& number);          // 4170000000 -> "4.17 G"
std::string duration_text(const Json& seconds);  // 93784 -> "1d 2h 3m 4s"

class Table {
 public:
  static constexpr std::size_t kPageRows = 1000;

  Table(std::span<const admin::Column> columns, std::ostream& out);
  void add(const Json& object);
  void finish();  // prints what is left, and the titles when there was no row

 private:
  struct Cell {
    std::string text;
    bool is_number;
  };
  void print_page();
  void print_line(const std::vector<Cell>& cells);

  std::span<const admin::Column> columns_;
  std::ostream& out_;
  std::vector<std::vector<Cell>> page_;
  std::vector<std::size_t> widths_;
  std::vector<bool> right_;  // all cells of the first page are numbers
  bool titles_printed_ = false;
};

}  // namespace vmnat::ctl
