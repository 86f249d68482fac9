// SPDX-License-Identifier: Apache-2.0
// Logging of the control thread: spdlog to stderr, as text or as one JSON object a line.
//
// DPDK's own messages come through the same door with the prefix "dpdk: ". Workers never log.
#pragma once

#include <cstdint>
#include <spdlog/spdlog.h>
#include <string_view>

namespace vmnat::control {

enum class LogFormat { Text, Json };

void start_log(spdlog::level::level_enum level, LogFormat format);
// To be called before the EAL starts: its messages are logged from then on.
void capture_dpdk_log();

// How much a line of DPDK's is worth: as DPDK's level says, but for known lines that mean nothing is wrong.
spdlog::level::level_enum level_of_dpdk(std::uint32_t dpdk_level, std::string_view line);

// Whose line of DPDK's it is, for its budget: the socket "(/run/vm1.sock)" that it names, else "dpdk".
std::string_view socket_in_dpdk_line(std::string_view line);

}  // namespace vmnat::control
