// SPDX-License-Identifier: Apache-2.0
// The DHCP server as a function of message sequences: the input's bytes decide what clients, clock and
// operator do (tests/dhcp/scenario.h), and the model there says when a promise is broken.
#include <random>

#include "tests/dhcp/scenario.h"
#include "tests/fuzz/driver.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  std::size_t at = 0;
  vmnat::dhcp::test::Scenario scenario{[&] { return at < size ? bytes[at++] : std::uint8_t{0}; },
                                       [&] { return at < size; }};
  if (const std::string fault = scenario.play(); !fault.empty()) vmnat::fuzz::fault(fault);
  return 0;
}

std::vector<std::vector<std::uint8_t>> vmnat::fuzz::seeds() {
  std::vector<std::vector<std::uint8_t>> seeds;
  std::mt19937 random{1};
  for (const std::size_t size : {16u, 256u, 2048u}) {
    auto& seed = seeds.emplace_back(size);
    for (auto& byte : seed) byte = static_cast<std::uint8_t>(random());
  }
  return seeds;
}
