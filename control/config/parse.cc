// SPDX-License-Identifier: Apache-2.0
// The whole file, and the sections that are small: dataplane, uplink, conntrack, control.
#include "control/config/parse.h"

namespace vmnat::config {
namespace {

constexpr unsigned kHighestCpu = 1023;

void parse_dataplane(Section& section, Dataplane& into) {
  const auto cpu = number_within<unsigned>(0, kHighestCpu);
  if (section.list("workers", into.workers, cpu, "auto") && into.workers.empty())
    section.findings().complain_at(section.path_of("workers"), "workers: at least one CPU is needed");
  section.optional("control_cpu", into.control_cpu, unless("auto", cpu));
  section.optional("memory", into.memory, byte_size);
  section.optional("hugepages", into.hugepages, word<Hugepages>);
  section.optional("idle", into.idle, word<Idle>);
  section.list("eal", into.eal, any_text);
}

void parse_uplink(Section& section, Uplink& into) {
  section.required("device", into.device, device_name);
  section.required("address", into.address, unless("dhcp", prefix));
  section.optional("gateway", into.gateway, host_address);
  section.optional("mac", into.mac, unless("auto", unicast_mac));
  section.optional("mtu", into.mtu, number_within<std::uint16_t>(68, 9600));  // from RFC 791 section 3.2 on
  section.optional("queues", into.queues, unless("auto", number_within<unsigned>(1, 64)));
  if (section.read_well("address") && into.address && !section.given("gateway")) section.miss("gateway");
}

void parse_conntrack(Section& section, Conntrack& into) {
  section.optional("sessions", into.sessions, number_within<std::uint32_t>(1024, 1u << 28));
}

void parse_control(Section& section, Control& into) {
  section.optional("socket", into.socket, socket_path);
  section.optional("metrics", into.metrics, unless("off", endpoint));
  section.optional("state_dir", into.state_dir, absolute_path);
}

}  // namespace

void parse_config(const Node& document, Config& into, Findings& findings, const Resolvers& resolvers) {
  Section file(document, "", findings);
  if (document.kind != Node::Kind::Map && document.kind != Node::Kind::Null) return;
  file.section("dataplane", into.dataplane, parse_dataplane);
  if (!file.section("uplink", into.uplink, parse_uplink)) file.miss("uplink");
  file.sections("networks", into.networks, [&](Section& section, Network& network) {
    parse_network(section, network, into.uplink, resolvers);
  });
  if (!file.given("networks")) file.miss("networks");
  file.section("conntrack", into.conntrack, parse_conntrack);
  file.section("control", into.control, parse_control);
  file.refuse_the_rest();
}

}  // namespace vmnat::config
