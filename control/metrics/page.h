// SPDX-License-Identifier: Apache-2.0
// docs/metrics.md, made from the rows of families.h and of the tables of reasons.
#pragma once

#include <string>

namespace vmnat::metrics {

std::string metrics_page();

}  // namespace vmnat::metrics
