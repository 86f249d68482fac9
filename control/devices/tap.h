// SPDX-License-Identifier: Apache-2.0
// TAP devices (Linux, networking/tuntap): being the other end of one.
#pragma once

#include <string>
#include <vector>

#include "control/result.h"
#include "control/system/file_descriptor.h"

namespace vmnat::control {

// A descriptor for each queue of the TAP, with virtio's header before each frame (dataplane/device/tap_queue.h).
// Empty: another one is attached to it already.
Result<std::vector<FileDescriptor>> attach_to_tap(const std::string& interface, unsigned queues);

// Makes a TAP, which goes with the descriptor; an Error where there is an interface of that name.
Result<FileDescriptor> make_tap(const std::string& interface);

// False once the TAP has gone.
bool is_attached(const FileDescriptor& queue);

}  // namespace vmnat::control
