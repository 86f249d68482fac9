// SPDX-License-Identifier: Apache-2.0
// vmnatctl: see vmnatctl.h.
#include <exception>
#include <iostream>

#include "control/ctl/vmnatctl.h"

int main(int argc, char** argv) try {
  std::ios::sync_with_stdio(false);
  return vmnat::ctl::run_vmnatctl({argv + 1, argv + argc}, std::cout, std::cerr);
} catch (const std::exception& failure) {
  std::cerr << "vmnatctl: " << failure.what() << '\n';
  return 1;
}
