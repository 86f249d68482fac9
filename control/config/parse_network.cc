// SPDX-License-Identifier: Apache-2.0
// One element of `networks`, and its ports.
#include "control/config/parse.h"

namespace vmnat::config {
namespace {

void parse_port(Section& section, VmPort& into) {
  section.required("name", into.name, identifier);
  section.optional("vhost_user", into.vhost_user, socket_path);
  section.optional("device", into.device, device_name);
  section.optional("mode", into.mode, word<VhostMode>);
  section.optional("queues", into.queues, number_within<unsigned>(1, 64));
  section.optional("mac", into.mac, unless("any", unicast_mac));
  section.optional("address", into.address, unless("any", host_address));
  if (section.given("device")) into.guard = PortGuard::Off;
  section.optional("guard", into.guard, word<PortGuard>);
  into.relay = into.guard == PortGuard::Off;
  section.optional("relay", into.relay, boolean);

  const bool vhost = section.given("vhost_user"), device = section.given("device");
  if (vhost == device) {
    section.findings().complain(section.at(), vhost ? "a port has vhost_user or device, not both"
                                                    : "a port needs vhost_user (a socket) or device");
  } else if (device) {
    section.findings().complain_at(section.path_of("mode"), "mode: is for vhost_user ports");
  }
}

void default_to_uplink(Nat& nat, const Uplink& uplink) {
  if (nat.addresses.empty() && uplink.address)
    nat.addresses = {{uplink.address->address, uplink.address->address}};
}

}  // namespace

void parse_network(Section& section, Network& into, const Uplink& uplink, const Resolvers& resolvers) {
  section.required("name", into.name, identifier);
  section.required("address", into.address, prefix);
  section.optional("mac", into.mac, unless("auto", unicast_mac));
  section.optional("mtu", into.mtu, number_within<std::uint16_t>(68, 9600));
  section.optional("forward", into.forward, word<Forward>);
  section.optional("isolated_ports", into.isolated_ports, boolean);
  section.sections("ports", into.ports, parse_port);

  Dhcp dhcp;
  const bool has_dhcp = section.section(
      "dhcp", dhcp, [&](Section& inner, Dhcp& reading) { parse_dhcp(inner, reading, into, resolvers); });
  if (has_dhcp) into.dhcp = std::move(dhcp);

  section.section("nat", into.nat, parse_nat);
  if (into.forward == Forward::None)
    section.findings().complain_at(section.path_of("nat"), "nat: this network is isolated (forward: none)");
  else
    default_to_uplink(into.nat, uplink);
}

}  // namespace vmnat::config
