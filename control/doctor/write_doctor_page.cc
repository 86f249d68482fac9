// SPDX-License-Identifier: Apache-2.0
// Writes docs/doctor.md anew: write_doctor_page FILE
#include <fstream>
#include <iostream>

#include "control/doctor/page.h"

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "usage: write_doctor_page FILE\n";
    return 1;
  }
  std::ofstream file(arguments[1]);
  file << vmnat::doctor::doctor_page();
  file.close();
  return file ? 0 : 1;
}
