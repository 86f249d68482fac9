// SPDX-License-Identifier: Apache-2.0
#include "control/doctor/host_facts.h"

#include "control/doctor/gather.h"

namespace vmnat::doctor {

HostFacts gather_host(const config::Config& config, const std::filesystem::path& root) {
  HostFacts facts;
  gather_cpus(root, facts);
  gather_memory(root, facts);
  gather_clock(facts);
  gather_nics(config, root, facts);
  gather_interfaces(root, facts);
  gather_sockets(config, root, facts);
  gather_vmms(config, root, facts);
  gather_accounts(config, facts);
  gather_state_directory(config, facts);
  gather_services(root, facts);
  gather_preemptions(root, facts);
  return facts;
}

}  // namespace vmnat::doctor
