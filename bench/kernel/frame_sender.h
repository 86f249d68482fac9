// SPDX-License-Identifier: Apache-2.0
// Sends 64-byte frames by a side's interface, past UDP, IP and queueing disciplines: here 1 us a frame instead of 2.
//
// The frames are made once, one for each flow, with complete checksums, and sent in turn, a burst a system call.
#pragma once

#include <array>
#include <span>
#include <string>
#include <sys/socket.h>
#include <vector>

#include "bench/generator/flows.h"
#include "bench/kernel/sides.h"

namespace vmnat::bench {

class FrameSender {
 public:
  // The side has a neighbour on its interface already, who is the next hop of all flows.
  FrameSender(const std::string& network_namespace, std::span<const Tuple> flows);

  // How many frames the interface took; one of each flow are offered.
  [[nodiscard]] unsigned send_burst();

 private:
  struct Frame {
    alignas(64) std::array<std::byte, 60> bytes;  // without FCS
  };

  Socket socket_;
  std::vector<Frame> frames_;
  std::vector<iovec> pieces_;
  std::vector<mmsghdr> burst_;
};

}  // namespace vmnat::bench
