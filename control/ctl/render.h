// SPDX-License-Identifier: Apache-2.0
// The daemon's answers as text for people: pure functions of the JSON, whose shapes control/admin/README.md
// states.
#pragma once

#include <string>

#include "control/ctl/table.h"

namespace vmnat::ctl {

// The columns of a list command ("sessions", "ports", ...); empty for any other.
std::vector<Column> columns_of(std::string_view command);

std::string status_text(const Json& status);
std::string counters_text(const Json& counters);  // one per line, names to the left, numbers to the right
// "worker 0: parse 21.5, switch 11.7, ... cycles a packet", of a daemon built to count that; else nothing.
std::string stages_text(const Json& worker);
std::string reload_text(const Json& answer);
// What `lease release`, `reserve add` and `reserve del` have done, as a sentence.
std::string dhcp_change_text(std::string_view command, const Json& answer);

// A session as conntrack(8) -L writes one, newline included. The reply direction stands second, so its
// "dst" and "dport" are the external endpoint:
// udp      17 28 src=192.168.122.10 dst=9.9.9.9 sport=5000 dport=53 src=9.9.9.9 dst=203.0.113.2 sport=53
// dport=5000 ...
std::string conntrack_line(const Json& session);

}  // namespace vmnat::ctl
