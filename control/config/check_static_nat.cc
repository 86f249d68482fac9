// SPDX-License-Identifier: Apache-2.0
// Checks of nat.static: the internal address is a VM's, and the external one is nobody else's.
#include "control/config/check.h"

namespace vmnat::config {
namespace {

using net::to_string;

void check_internal(const Network& network, net::Ipv4Addr internal, const std::string& path,
                    Findings& findings) {
  if (!network.address.contains(internal))
    return findings.complain_at(path, "internal: " + to_string(internal) + " is not within network '" +
                                          network.name + "' (" + to_string(network.address) + ")");
  if (internal == network.address.address)
    return findings.complain_at(path, "internal: " + to_string(internal) + " is the gateway's address");
  check_is_host_of(network.address, internal, path, "internal", findings);
}

void check_on_uplink(const Config& config, std::size_t number, net::Ipv4Addr external,
                     const std::string& path, Findings& findings) {
  const Uplink& uplink = uplink_at(config, number);
  const std::string text = "external: " + to_string(external), at = uplink_path(config, number),
                    whose = uplink_text(config, number);
  if (findings.has(at + ".gateway") && uplink.gateway == external)
    findings.complain_at(path, text + " is " + whose + "'s gateway");
  if (!findings.has(at + ".address") || !uplink.address) return;
  if (uplink.address->address == external)
    return findings.complain_at(path, text + " is " + whose + "'s own address, which the gateway needs");
  if (uplink.address->is_edge(external))
    findings.complain_at(path, text + " is the network or broadcast address of " + whose);
}

// A list of external addresses that the address may not be in.
void check_is_not_in(const std::vector<AddressRange>& ranges, const std::string& list, net::Ipv4Addr external,
                     const std::string& path, Findings& findings) {
  const Position at = findings.marks.at(path);
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    const auto pool = findings.marks.find(indexed(list, i));
    if (pool == findings.marks.end() || !ranges[i].contains(external)) continue;
    findings.complain(at, "external: " + to_string(external) + " is in a pool " +
                              findings.place(pool->second, at) + ": take it out there");
  }
}

// Where any network has the address in a pool, or as one of its inside.
void check_is_free(const Config& config, net::Ipv4Addr external, const std::string& path,
                   Findings& findings) {
  const Position at = findings.marks.at(path);
  for (std::size_t n = 0; n < config.networks.size(); ++n) {
    const Network& network = config.networks[n];
    if (findings.has(network_path(n) + ".address") && network.address.contains(external))
      findings.complain(at, "external: " + to_string(external) + " is within network '" + network.name +
                                "' (" + to_string(network.address) + ")");
    const std::string nat = network_path(n) + ".nat";
    check_is_not_in(network.nat.addresses, nat + ".addresses", external, path, findings);
    for (std::size_t i = 0; i < network.nat.rules.size(); ++i)
      check_is_not_in(network.nat.rules[i].addresses, indexed(nat + ".rules", i) + ".addresses", external,
                      path, findings);
  }
}

class StaticNatCheck {
 public:
  StaticNatCheck(const Config& config, Findings& findings) : config_(config), findings_(findings) {}

  void check(std::size_t n, const StaticNat& pair, const std::string& at) {
    if (findings_.has(at + ".internal")) {
      internals_.add(pair.internal, at + ".internal", to_string(pair.internal));
      if (findings_.has(network_path(n) + ".address"))
        check_internal(config_.networks[n], pair.internal, at + ".internal", findings_);
    }
    if (!findings_.has(at + ".external")) return;
    externals_.add(pair.external, at + ".external", to_string(pair.external));
    for (std::size_t u = 0; u < uplink_count(config_); ++u)
      check_on_uplink(config_, u, pair.external, at + ".external", findings_);
    check_is_free(config_, pair.external, at + ".external", findings_);
  }

 private:
  const Config& config_;
  Findings& findings_;
  Unique<net::Ipv4Addr> internals_{"static: internal", findings_}, externals_{"static: external", findings_};
};

}  // namespace

void check_static_nat(const Config& config, Findings& findings) {
  StaticNatCheck check(config, findings);
  for (std::size_t n = 0; n < config.networks.size(); ++n) {
    const auto& pairs = config.networks[n].nat.static_nat;
    for (std::size_t i = 0; i < pairs.size(); ++i)
      check.check(n, pairs[i], indexed(network_path(n) + ".nat.static", i));
  }
}

}  // namespace vmnat::config
