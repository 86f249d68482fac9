// SPDX-License-Identifier: Apache-2.0
// Writes configs/schema.json and configs/reference.yaml anew: write_config_files DIRECTORY
#include <fstream>
#include <iostream>

#include "control/config/config_files.h"

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "usage: write_config_files DIRECTORY\n";
    return 1;
  }
  const std::string directory = arguments[1];
  std::ofstream schema(directory + "/schema.json"), reference(directory + "/reference.yaml");
  schema << vmnat::config::schema_json();
  reference << vmnat::config::reference_yaml();
  schema.close();
  reference.close();
  return schema && reference ? 0 : 1;
}
