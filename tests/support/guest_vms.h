// SPDX-License-Identifier: Apache-2.0
// VMs of a testbed by rings in the test's hands, so that what they send waits there until it is taken.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>

#include "tests/support/fake_guest.h"
#include "tests/support/testbed.h"

namespace vmnat::test {

inline constexpr std::array<PortIndex, 4> kVms{kVm1, kVm2, kVm3, kVm4};  // the last in another network
inline constexpr const char* kVmAddresses[] = {"192.168.122.10", "192.168.122.11", "192.168.122.12",
                                               "192.168.5.10"};

// The guest sends by this port from now on.
inline void attach_sender(dataplane::VhostPort& port, FakeGuest& guest) {
  port.queue(1) = guest.queue();
  port.attach(dataplane::virtio::kVersion1);
  port.set_enabled(1, true);
  port.resume(dataplane::VhostPort::kDrivenHere);
}

// Where those VMs' wires are these ports.
inline Testbed::Shape shape_of(std::array<dataplane::VhostPort, kPortCount>& ports) {
  Testbed::Shape shape;
  for (const PortIndex port : kVms) shape.guests[port] = &ports[port];
  return shape;
}

// As it lies in a guest's memory.
inline Bytes with_header(const dataplane::virtio::NetHeader& header, const Bytes& frame) {
  Bytes bytes(sizeof header + frame.size());
  std::memcpy(bytes.data(), &header, sizeof header);
  std::ranges::copy(frame, bytes.begin() + sizeof header);
  return bytes;
}

}  // namespace vmnat::test
