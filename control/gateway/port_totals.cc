// SPDX-License-Identifier: Apache-2.0
#include "control/gateway/port_totals.h"

namespace vmnat::control {

PortTotals PortTotals::since(const PortTotals& before) const {
  PortTotals rest{.rx_packets = rx_packets - before.rx_packets,
                  .rx_bytes = rx_bytes - before.rx_bytes,
                  .tx_packets = tx_packets - before.tx_packets,
                  .tx_bytes = tx_bytes - before.tx_bytes,
                  .tx_refused = tx_refused - before.tx_refused};
  for (std::size_t i = 0; i < drops.size(); ++i) rest.drops[i] = drops[i] - before.drops[i];
  return rest;
}

PortTotals port_totals(const Workers& workers, PortIndex port) {
  PortTotals totals;
  for (const dataplane::Worker& worker : workers) {
    const dataplane::PortCounters& counters = worker.counters().ports[port];
    totals.rx_packets += counters.rx_packets.get();
    totals.rx_bytes += counters.rx_bytes.get();
    totals.tx_packets += counters.tx_packets.get();
    totals.tx_bytes += counters.tx_bytes.get();
    totals.tx_refused += counters.tx_refused.get();
    for (std::size_t i = 0; i < totals.drops.size(); ++i) totals.drops[i] += counters.drops[i].get();
  }
  return totals;
}

}  // namespace vmnat::control
