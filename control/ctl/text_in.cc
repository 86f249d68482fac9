// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/text_in.h"

#include <fstream>
#include <iostream>
#include <iterator>

namespace vmnat::ctl {

std::optional<std::string> text_in(const std::string& path) {
  if (path == "-") return std::string{std::istreambuf_iterator<char>(std::cin), {}};
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  return file ? std::optional{std::move(text)} : std::nullopt;
}

}  // namespace vmnat::ctl
