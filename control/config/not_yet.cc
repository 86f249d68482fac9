// SPDX-License-Identifier: Apache-2.0
// The one list of what the configuration can say and this version cannot do.
//
// Such keys are read and checked like all others and then refused, so a file never asks for something that is
// silently left out. Building a feature ends with deleting its row here.
#include <array>

#include "control/config/check.h"

namespace vmnat::config {
namespace {

struct Row {
  std::string_view what;  // as the operator reads it
  std::string_view key;   // within its scope
  bool (*asked_for)(const Config&, const VmPort*);
};

// Rows of the file's top level get no port.
constexpr std::array kOfTheFile{
    Row{"more than one queue", "uplink.queues",
        [](const Config& c, const VmPort*) { return c.uplink.queues.value_or(1) > 1; }},
    Row{"metrics", "control.metrics",
        [](const Config& c, const VmPort*) { return c.control.metrics.has_value(); }},
};

constexpr std::array kOfAPort{
    Row{"more than one queue", "queues", [](const Config&, const VmPort* p) { return p->queues > 1; }},
};

template <std::size_t N>
void refuse(const std::array<Row, N>& rows, const std::string& scope, const Config& config,
            const VmPort* port, Findings& findings) {
  for (const Row& row : rows)
    if (row.asked_for(config, port))
      findings.complain_at(scope + std::string{row.key}, "not supported yet: " + std::string{row.what});
}

}  // namespace

void refuse_not_yet(const Config& config, Findings& findings) {
  refuse(kOfTheFile, "", config, nullptr, findings);
  for (std::size_t n = 0; n < config.networks.size(); ++n) {
    const Network& network = config.networks[n];
    for (std::size_t p = 0; p < network.ports.size(); ++p)
      refuse(kOfAPort, indexed(network_path(n) + ".ports", p) + ".", config, &network.ports[p], findings);
  }
}

}  // namespace vmnat::config
