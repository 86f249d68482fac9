// SPDX-License-Identifier: Apache-2.0
// EarlyEnd: SIGUSR1 ends the run under way, as if its time were over. For whoever does something to the device meanwhile, and
// knows only afterwards how long that takes.
#pragma once

namespace vmnat::bench {

class EarlyEnd {
 public:
  // Without it the signal ends the process.
  static void listen();
  static void forget();
  // Since it was forgotten.
  [[nodiscard]] static bool is_wanted();
};

}  // namespace vmnat::bench
