// SPDX-License-Identifier: Apache-2.0
// The one list of what the configuration can say and this version cannot do.
//
// Such keys are read and checked like all others and then refused, so a file never asks for something that is
// silently left out. Building a feature ends with deleting its line here.
#include "control/config/check.h"

namespace vmnat::config {

void refuse_not_yet(const Config& config, Findings& findings) {
  if (config.control.metrics) findings.complain_at("control.metrics", "not supported yet: metrics");
}

}  // namespace vmnat::config
