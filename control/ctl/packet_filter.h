// SPDX-License-Identifier: Apache-2.0
// A filter's expression, as tcpdump has it (pcap-filter(7)), made a program by libpcap. Names of hosts and services are
// looked up here: the daemon never waits for a resolver, and knows programs alone.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <tl/expected.hpp>

namespace vmnat::ctl {

// [[code, jt, jf, k], ...] of an Ethernet frame. An error says what libpcap does not like about the expression.
tl::expected<nlohmann::json, std::string> packet_filter(const std::string& expression);

}  // namespace vmnat::ctl
