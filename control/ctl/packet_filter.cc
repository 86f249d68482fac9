// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/packet_filter.h"

#include <memory>
#include <pcap/pcap.h>

namespace vmnat::ctl {
namespace {

constexpr int kSnap = 262'144, kOptimized = 1;

struct Close {
  void operator()(pcap_t* pcap) const { pcap_close(pcap); }
};

}  // namespace

tl::expected<nlohmann::json, std::string> packet_filter(const std::string& expression) {
  const std::unique_ptr<pcap_t, Close> pcap(pcap_open_dead(DLT_EN10MB, kSnap));
  if (pcap == nullptr) return tl::unexpected(std::string("libpcap has no memory for a filter"));
  bpf_program program{};
  if (pcap_compile(pcap.get(), &program, expression.c_str(), kOptimized, PCAP_NETMASK_UNKNOWN) != 0)
    return tl::unexpected("filter '" + expression + "': " + pcap_geterr(pcap.get()));
  nlohmann::json steps = nlohmann::json::array();
  for (unsigned i = 0; i < program.bf_len; ++i) {
    const bpf_insn& step = program.bf_insns[i];
    steps.push_back({step.code, step.jt, step.jf, step.k});
  }
  pcap_freecode(&program);
  return steps;
}

}  // namespace vmnat::ctl
