// SPDX-License-Identifier: Apache-2.0
// The rows of the commands against the page that is the contract of their answers.
#include "control/admin/commands.h"

#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace vmnat::admin {
namespace {

// The rows of the page's table of commands: | `name` | kind | arguments | keys |
std::vector<std::string> rows_of_the_page() {
  std::ifstream file(VMNAT_ADMIN_README);
  std::vector<std::string> rows;
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("| `")) rows.push_back(line);
  return rows;
}

std::string row_start(const Command& command) {
  const char* kind = command.kind == Kind::List ? "list" : command.kind == Kind::Stream ? "stream" : "object";
  return "| `" + std::string{command.name} + "` | " + kind + " |";
}

TEST(Commands, EachHasItsRowInTheContractWithItsKind) {
  const auto rows = rows_of_the_page();
  for (const Command& command : kCommands)
    EXPECT_EQ(std::ranges::count_if(
                  rows, [&](const std::string& row) { return row.starts_with(row_start(command)); }),
              1)
        << "control/admin/README.md should have one row that starts " << row_start(command);
}

TEST(Commands, TheContractNamesNoOther) {
  for (const std::string& row : rows_of_the_page()) {
    const std::string name = row.substr(3, row.find('`', 3) - 3);
    EXPECT_NE(find_command(name), nullptr) << name;
  }
}

TEST(Commands, TheContractHasTheKeyOfEachColumn) {
  for (const std::string& row : rows_of_the_page())
    for (const Command& command : kCommands) {
      if (!row.starts_with(row_start(command))) continue;
      for (const Column& column : command.columns)
        EXPECT_NE(row.find("`" + std::string{column.key} + "`"), row.npos)
            << command.name << " has no key " << column.key << " in control/admin/README.md";
    }
}

TEST(Commands, ThatChangeAreThoseOfTheContract) {
  std::ifstream file(VMNAT_ADMIN_README);
  const std::string page(std::istreambuf_iterator<char>(file), {});
  const auto begin = page.find("To change are: ");
  const auto end = page.find(". All others look.", begin);
  ASSERT_NE(end, page.npos);
  const std::string changing = page.substr(begin, end - begin);
  for (const Command& command : kCommands)
    EXPECT_EQ(changing.find("`" + std::string{command.name} + "`") != changing.npos,
              command.access == Access::Change)
        << command.name;
}

TEST(Commands, AreFoundByName) {
  EXPECT_EQ(find_command("ports")->name, "ports");
  EXPECT_EQ(find_command("port"), nullptr);
}

}  // namespace
}  // namespace vmnat::admin
