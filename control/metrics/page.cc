// SPDX-License-Identifier: Apache-2.0
#include "control/metrics/page.h"

#include <fmt/format.h>

#include "control/metrics/families.h"
#include "dataplane/frame/drop_reasons.h"
#include "dhcp/counters.h"

namespace vmnat::metrics {
namespace {

constexpr std::string_view kHead = R"(# Metrics
What `/metrics` shows, made from [families.h](../control/metrics/families.h) by `ninja -C build metrics_page`.

    control: {metrics: 127.0.0.1:9469}              # in vmnat.yaml; a reload applies it
    curl http://127.0.0.1:9469/metrics
    curl --unix-socket /run/vmnat/vmnat.sock http://localhost/metrics    # without that key, too

Prometheus reads it as text or as OpenMetrics. [configs/monitoring](../configs/monitoring) holds a scrape configuration,
alerts, and a dashboard for Grafana. The same server answers `/api/COMMAND` with what `vmnatctl --json COMMAND` prints,
options as `/api/sessions?network=red&limit=5`, and has a page at `/` that shows it in a browser: networks, VMs with
their rates and drops, workers, leases, sessions with a search. It asks about every 2 s while somebody looks.

**Who may.** Whoever reaches the address may look at everything, and change nothing: keep it on the loopback, or on a
network for management. There is no TLS; a reverse proxy adds it. A browser is kept from reading it by way of a foreign
page: names other than `localhost` and this host's own are refused in the Host field (421), so scrape by address. On the
admin socket the rights are those of `control.group` and `control.admins`. Whoever may change things there, or bears the
token of `control.token_file`, does so by POST, with the arguments as a JSON object:

    curl --unix-socket /run/vmnat/vmnat.sock http://localhost/api/flush --data '{"port": "vm1"}'

**What it costs.** A scrape reads counters, no worker waits for it, and control has half of its time for other work
while answers are made. `vmnat_http_seconds_total` is what they took. With 1000 ports a scrape has some 10000 samples.
Drops of a port are shown for reasons that there were.

DPDK's telemetry socket answers, too, for those whose `dataplane.eal` has `--telemetry`: `/vmnat/counters`, `/vmnat/ports`
and `/vmnat/workers`, by dpdk-telemetry.py.

Counters of `vmnatctl counters`, and of ports, go on over a restart; what workers, control and HTTP have used counts from the
start of the process. Labels are names of the configuration, reasons, protocols and states: never a session or a remote.

)";

std::string_view type_of(Kind kind) {
  switch (kind) {
    case Kind::Counter:
      return "counter";
    case Kind::Gauge:
      return "gauge";
    case Kind::Info:
      break;
  }
  return "info";
}

std::string row_of(const Family& family) {
  const std::string labels = family.labels.empty() ? "" : fmt::format("{{{}}}", family.labels);
  const std::string counter = family.counter.empty() ? "" : fmt::format("`{}`", family.counter);
  return fmt::format("| `{}`{} | {} | {} | {} |\n", family.name, labels.empty() ? "" : " " + labels,
                     type_of(family.kind), counter, family.help);
}

template <typename Names, typename Texts>
std::string reasons(std::string_view title, const Names& names, const Texts& texts) {
  std::string page = fmt::format("\n## {}\n| reason | |\n|---|---|\n", title);
  for (std::size_t i = 0; i < std::size(names); ++i)
    page += fmt::format("| `{}` | {} |\n", names[i], texts[i]);
  return page;
}

std::string ignored_dhcp() {
  std::string page = "\n## Reasons of `vmnat_dhcp_ignored_total`\n| reason | |\n|---|---|\n";
  for (const dhcp::IgnoredText& text : dhcp::kIgnoredTexts)
    page += fmt::format("| `{}` | {} |\n", text.name, text.sentence);
  return page;
}

}  // namespace

std::string metrics_page() {
  std::string page{kHead};
  for (const Section& section : kSections) {
    page += fmt::format("## {}\n| metric and labels | type | `vmnatctl counters` | |\n|---|---|---|---|\n",
                        section.title);
    for (const Family& family : section.families) page += row_of(family);
    page += "\n";
  }
  page += "Of `vmnatctl counters`, sums of these:";
  for (const Sum& sum : kSums) page += fmt::format(" `{}` of `{}`,", sum.counter, sum.family);
  page.back() = '.';
  page += "\n";
  page += reasons("Reasons of `vmnat_drop_total` and `vmnat_port_drops_total`", dataplane::kDropNames,
                  dataplane::kDropTexts);
  page += reasons("Reasons of `vmnat_punt_total`", dataplane::kPuntNames, dataplane::kPuntTexts);
  return page + ignored_dhcp();
}

}  // namespace vmnat::metrics
