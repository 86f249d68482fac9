// SPDX-License-Identifier: Apache-2.0
// GatewayBed: a testbed that lives as long as the process, and goes back to where it was after each input.
//
// VMs and forwards are known to it, and each input finds a few flows open (`flows()`, which its target puts
// in). In the end hours pass, and no session, buffer or frame may be left: finish() reports what is.
#pragma once

#include <utility>
#include <vector>

#include "tests/support/testbed.h"

namespace vmnat::fuzz {

class GatewayBed {
 public:
  explicit GatewayBed(const test::Testbed::Shape& shape);

  test::Testbed& bed() { return bed_; }
  [[nodiscard]] const std::vector<std::pair<PortIndex, test::Bytes>>& flows() const { return flows_; }
  // All sessions end; then nothing may be left of the input.
  void finish();

 private:
  [[nodiscard]] std::uint64_t sessions() const;

  unsigned workers_;
  test::Testbed bed_;
  std::vector<std::pair<PortIndex, test::Bytes>> flows_;
  std::size_t buffers_ = 0;
  unsigned finished_ = 0;
};

}  // namespace vmnat::fuzz
