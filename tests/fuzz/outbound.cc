// SPDX-License-Identifier: Apache-2.0
// Frames from VMs, through the whole packet path; gateway.h says what is promised of what comes out.
#include "tests/fuzz/driver.h"
#include "tests/fuzz/gateway.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  vmnat::fuzz::play({bytes, size}, vmnat::fuzz::Side::Vms);
  return 0;
}

std::vector<std::vector<std::uint8_t>> vmnat::fuzz::seeds() {
  return gateway_seeds(Side::Vms);
}
