// SPDX-License-Identifier: Apache-2.0
#include "bench/generator/early_end.h"

#include <csignal>

namespace vmnat::bench {
namespace {

volatile std::sig_atomic_t g_is_wanted = 0;  // a signal handler knows nothing else

}  // namespace

void EarlyEnd::listen() {
  std::signal(SIGUSR1, [](int) { g_is_wanted = 1; });
}

void EarlyEnd::forget() {
  g_is_wanted = 0;
}

bool EarlyEnd::is_wanted() {
  return g_is_wanted != 0;
}

}  // namespace vmnat::bench
