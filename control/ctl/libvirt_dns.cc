// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cctype>
#include <fmt/format.h>
#include <vector>

#include "control/ctl/libvirt_elements.h"

namespace vmnat::ctl {
namespace {

using pugi::xml_node;

constexpr std::string_view kBridge = "virbr", kInterface = "vmnat";
constexpr std::array<std::string_view, 4> kReadOfDns{"host", "txt", "srv", "forwarder"};

// "vmnat3" for the bridge "virbr3"; a bridge that somebody has named keeps the name.
std::string interface_of(xml_node network) {
  std::string bridge = network.child("bridge").attribute("name").value();
  if (bridge.empty()) return std::string{kInterface} + '0';
  if (!bridge.starts_with(kBridge)) return bridge;
  return std::string{kInterface} + bridge.substr(kBridge.size());
}

class Dns {
 public:
  Dns(SettlingYaml& yaml, xml_node dns) : yaml_(yaml), dns_(dns) {}

  void write() {
    yaml_.line(kNetwork, has_records() ? "dns:" : "dns: {}");
    if (std::string_view{dns_.attribute("forwardPlainNames").value()} == "no")
      tell(yaml_, kInNetwork, dns_, "names without a dot are asked of the forwarders, too");
    hosts();
    texts();
    services();
    forwarders();
    tell_others(yaml_, kInNetwork, dns_, kReadOfDns, {});
  }

 private:
  [[nodiscard]] bool has_records() const {
    return std::ranges::any_of(kReadOfDns, [&](auto element) {
      return static_cast<bool>(dns_.child(std::string{element}.c_str()));
    });
  }

  // Under the heading, a line for each element.
  template <typename Line>
  void section(const char* element, const char* heading, Line line) {
    if (!dns_.child(element)) return;
    yaml_.line(kInNetwork, heading);
    for (const xml_node one : dns_.children(element)) line(one);
  }

  void hosts() {
    section("host", "hosts:", [&](xml_node host) {
      if (!host.child("hostname")) tell(yaml_, kItem, host, "it has no name");
      for (const xml_node name : host.children("hostname"))
        yaml_.line(kItem, fmt::format("{}: {}", yaml_quoted(name.child_value()),
                                      yaml_quoted(host.attribute("ip").value())));
    });
  }

  void texts() {
    section("txt", "txt:", [&](xml_node text) {
      yaml_.line(kItem, fmt::format("{}: {}", yaml_quoted(text.attribute("name").value()),
                                    yaml_quoted(text.attribute("value").value())));
    });
  }

  void services() {
    section("srv", "srv:", [&](xml_node srv) {
      std::string keys;
      for (const char* key : {"service", "protocol", "domain", "target", "port", "priority", "weight"})
        if (const pugi::xml_attribute value = srv.attribute(key))
          keys += fmt::format("{}{}: {}", keys.empty() ? "" : ", ", key, yaml_quoted(value.value()));
      yaml_.line(kItem, "- {" + keys + '}');
    });
  }

  void forwarders() {
    std::vector<std::string> everything, domains;
    for (const xml_node forwarder : dns_.children("forwarder")) {
      const std::string domain = forwarder.attribute("domain").value();
      const std::string address = forwarder.attribute("addr").value();
      if (address.empty())
        tell(yaml_, kInNetwork, forwarder, "a domain of its own has a server of its own (domain_forwarders)");
      else if (domain.empty())
        everything.push_back(address);
      else if (std::ranges::find(domains, domain) == domains.end())
        domains.push_back(domain);
    }
    if (!everything.empty()) yaml_.line(kInNetwork, "forwarders:");
    for (const std::string& address : everything) yaml_.line(kItem, "- " + yaml_quoted(address));
    if (!domains.empty()) yaml_.line(kInNetwork, "domain_forwarders:");
    for (const std::string& domain : domains)
      yaml_.line(kItem, fmt::format("{}: [{}]", yaml_quoted(domain), servers_of(domain)));
  }

  [[nodiscard]] std::string servers_of(const std::string& domain) const {
    std::string servers;
    for (const xml_node forwarder : dns_.children("forwarder"))
      if (domain == forwarder.attribute("domain").value() && *forwarder.attribute("addr").value() != '\0')
        servers += (servers.empty() ? "" : ", ") + yaml_quoted(forwarder.attribute("addr").value());
    return servers;
  }

  SettlingYaml& yaml_;
  xml_node dns_;
};

}  // namespace

void write_host(SettlingYaml& yaml, xml_node network) {
  yaml.line(kNetwork, "host:");
  yaml.line(kInNetwork, "interface: " + yaml_quoted(interface_of(network)));
  yaml.comment(kInNetwork,
               "services: [tcp/22]   # what of this host VMs may use, beside DNS; libvirt has no such list");
}

void write_dns(SettlingYaml& yaml, xml_node network) {
  const xml_node dns = network.child("dns");
  if (!serves_dns(network)) {
    if (dns) tell(yaml, kNetwork, dns, "vmnatd answers no DNS on this network, either");
    return;
  }
  // Without the section vmnatd answers where VMs are told so by DHCP.
  if (dns || !first_ipv4(network).child("dhcp")) Dns(yaml, dns).write();
}

}  // namespace vmnat::ctl
