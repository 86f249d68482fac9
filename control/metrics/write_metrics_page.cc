// SPDX-License-Identifier: Apache-2.0
// Writes docs/metrics.md anew: write_metrics_page FILE
#include <fstream>
#include <iostream>

#include "control/metrics/page.h"

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "usage: write_metrics_page FILE\n";
    return 1;
  }
  std::ofstream file(arguments[1]);
  file << vmnat::metrics::metrics_page();
  file.close();
  return file ? 0 : 1;
}
