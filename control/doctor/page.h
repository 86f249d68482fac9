// SPDX-License-Identifier: Apache-2.0
// docs/doctor.md, as the rows of findings.h say it. `ninja -C build doctor_page` writes the file anew; doctor_test holds
// it equal to this.
#pragma once

#include <string>

namespace vmnat::doctor {

std::string doctor_page();

}  // namespace vmnat::doctor
