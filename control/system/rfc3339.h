// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>

namespace vmnat::control {

// "2026-01-01T12:00:00Z"
std::string rfc3339(std::chrono::system_clock::time_point time);
// "2026-01-01T12:00:00.125Z"
std::string rfc3339_milliseconds(std::chrono::system_clock::time_point time);

}  // namespace vmnat::control
