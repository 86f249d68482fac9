// SPDX-License-Identifier: Apache-2.0
// The parts of gather_host(), for host_facts.cc alone. `root` is the directory that stands for "/".
#pragma once

#include <filesystem>

#include "control/doctor/host_facts.h"

namespace vmnat::doctor {

void gather_cpus(const std::filesystem::path& root, HostFacts& facts);  // and the kernel's version
void gather_memory(const std::filesystem::path& root, HostFacts& facts);
void gather_clock(HostFacts& facts);
// Two looks, a quarter of a second apart, where there are workers of this process.
void gather_preemptions(const std::filesystem::path& root, HostFacts& facts);

void gather_nics(const config::Config& config, const std::filesystem::path& root, HostFacts& facts);
void gather_interfaces(const std::filesystem::path& root, HostFacts& facts);  // and routes

void gather_sockets(const config::Config& config, const std::filesystem::path& root, HostFacts& facts);
void gather_vmms(const config::Config& config, const std::filesystem::path& root, HostFacts& facts);
void gather_accounts(const config::Config& config, HostFacts& facts);
void gather_state_directory(const config::Config& config, HostFacts& facts);
void gather_services(const std::filesystem::path& root, HostFacts& facts);  // DNS, AppArmor, TUN

}  // namespace vmnat::doctor
