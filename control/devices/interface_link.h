// SPDX-License-Identifier: Apache-2.0
// The link of a kernel interface, as whoever drives one needs it: there, and up.
#pragma once

#include <string>

#include "control/result.h"
#include "control/system/kernel_links.h"
#include "dataplane/device/offload.h"

namespace vmnat::control {

// `name`, for messages, is the device's: "uplink", "port vm1". Valid until `links` follow the kernel.
Result<const KernelLink*> find_link(const std::string& name, const std::string& interface,
                                    const KernelLinks& links);
// Answers whether it was down before.
Result<bool> bring_up(const std::string& name, const KernelLink& link);

// The largest IP packet that it bears; of one that is gone, any.
std::uint16_t mtu_of(const KernelLink& link);

// What the kernel takes off our hands, of packet sockets and TAPs alike.
dataplane::Offloads offloads_of_kernel();

}  // namespace vmnat::control
