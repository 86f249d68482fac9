// SPDX-License-Identifier: Apache-2.0
// Sessions, and what becomes of them, as conntrack(8) writes them, newline included. The reply direction stands second,
// so its "dst" and "dport" are the external endpoint:
//
//     udp      17 28 src=192.168.122.10 dst=9.9.9.9 sport=5000 dport=53
//                    src=9.9.9.9 dst=203.0.113.2 sport=53 dport=5000 ...      (all in one line)
//
// TCP states have the kernel's names. Its CLOSE_WAIT and FIN_WAIT are told apart by who opened the connection; here it is
// the VM, as it stands first. What the kernel has no name for becomes the nearest: a connection that was picked up in
// mid-stream is ESTABLISHED.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace vmnat::ctl {

// As -L.
std::string conntrack_line(const nlohmann::json& session);
// As -E: of an element of `sessions --watch`.
std::string conntrack_event_line(const nlohmann::json& event);

}  // namespace vmnat::ctl
