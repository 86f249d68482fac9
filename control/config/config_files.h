// SPDX-License-Identifier: Apache-2.0
// configs/schema.json and configs/reference.yaml, as the rows of keys_*.h say them. `ninja -C build configs`
// writes the files anew; config_test holds them equal to this.
#pragma once

#include <string>

namespace vmnat::config {

std::string schema_json();
std::string reference_yaml();

}  // namespace vmnat::config
