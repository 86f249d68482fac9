// SPDX-License-Identifier: Apache-2.0
// A configuration that is written from what somebody else's file says, and comes out valid whatever that is.
//
// What is written is lines. settled_text() has the text checked as vmnatd checks it; a line that is refused becomes a
// comment, with those below that belong to it, and the reason stands above. A line that may not be missing has another
// one to take its place.
//
//   yaml.line(4, "mtu: 20");      ->      # mtu: 'mtu' must be between 68 and 65535, not '20'
//                                         # mtu: 20
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace vmnat::ctl {

// Any text as a YAML scalar in double quotes, in one line.
std::string yaml_quoted(std::string_view text);

class SettlingYaml {
 public:
  // `indent` is the number of columns before the text. A `fallback` takes the place of a refused line.
  void line(unsigned indent, std::string text, std::string fallback = {});
  void comment(unsigned indent, std::string_view text);

  // The text, with comments in place of what is refused.
  [[nodiscard]] std::string settled_text() &&;

 private:
  struct Line {
    unsigned indent = 0;
    std::string text, fallback;
    bool is_comment = false;
  };
  [[nodiscard]] std::string text() const;
  [[nodiscard]] std::map<std::size_t, std::string> refusals() const;
  [[nodiscard]] std::size_t end_of(std::size_t at) const;
  void comment_out(std::size_t at);
  void end_empty_list(std::size_t element);
  void refuse(std::size_t at, const std::string& why);

  std::vector<Line> lines_;
};

}  // namespace vmnat::ctl
