// SPDX-License-Identifier: Apache-2.0
// Which boot file a client is told, by what it says of itself:
//
//   option 60 "HTTPClient:Arch:..."  UEFI's HTTP boot: takes a URL, and only an answer that says "HTTPClient"
//   option 77 "iPXE", or option 175  iPXE: gets a script, for instance, where other clients get iPXE itself
//   option 93                        the architectures that it can run (RFC 4578 section 2.1)
//
// Example: {for iPXE: boot.ipxe}, {architecture 7: ipxe.efi}, {pxelinux.0}. UEFI's PXE is told ipxe.efi. That
// is iPXE, which is then told boot.ipxe, and so does not load itself again. A BIOS is told pxelinux.0. HTTP
// boot is told nothing, since none of them is a URL.
#pragma once

#include "dhcp/message.h"
#include "dhcp/settings.h"

namespace vmnat::dhcp {

inline constexpr std::string_view kHttpClass = "HTTPClient", kPxeClass = "PXEClient";

// Whether option 60 starts with this class; architecture and version follow it.
bool is_of_class(const OptionSet& request, std::string_view vendor_class);
// RFC 3004 makes a list of user classes; iPXE and most others send one as plain text.
bool is_ipxe(const OptionSet& request);
// The first entry that fits; nullptr: none does.
const Boot* boot_for(const NetworkSettings& settings, const OptionSet& request);

}  // namespace vmnat::dhcp
