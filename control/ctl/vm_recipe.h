// SPDX-License-Identifier: Apache-2.0
// How to put a VM on a port: the arguments for QEMU and the element for libvirt, from the port's own values.
//
// A vhost-user NIC works only with guest memory that is shared; both recipes say so, as forgetting it is the
// classic reason for "link up, no packets". A port's mode is vmnatd's part, the opposite of QEMU's: on a port
// of mode client, QEMU listens (libvirt's mode='server').
#pragma once

#include <string>

#include "control/ctl/table.h"

namespace vmnat::ctl {

struct VmRecipe {
  std::string port, socket, mac;
  bool qemu_listens = true;
  unsigned queues = 1;
  unsigned mtu = 1500;
};

// From an element of the command `ports`; the MAC address is `mac`, else the port's, else one made from its
// name. Answers an empty `socket` when the port is not a vhost-user port.
VmRecipe recipe_for(const Json& port, const std::string& mac);

// One argument and its value a line, for `qemu-system-x86_64 ... $(vmnatctl qemu-args vm1)`. `memory` is the
// size of the guest's memory ("1G"), or "none" when the memory is set up elsewhere (a second port of the same
// VM).
std::string qemu_arguments(const VmRecipe& recipe, const std::string& memory);
std::string libvirt_xml(const VmRecipe& recipe);

}  // namespace vmnat::ctl
