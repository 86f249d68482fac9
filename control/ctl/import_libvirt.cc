// SPDX-License-Identifier: Apache-2.0
// One function for each part of the file that is written, which looks for its elements; pugixml reads the XML.
#include "control/ctl/import_libvirt.h"

#include <algorithm>
#include <array>
#include <bit>
#include <fmt/format.h>
#include <optional>
#include <pugixml.hpp>
#include <span>
#include <vector>

#include "control/config/values.h"
#include "control/ctl/libvirt_elements.h"
#include "control/ctl/settling_yaml.h"

namespace vmnat::ctl {
namespace {

using pugi::xml_node;

constexpr std::string_view kAnyName = "default", kAnyAddress = "192.168.122.1/24", kAnyDevice = "eth0";

constexpr NoCounterpart kOfNetwork[] = {
    {"uuid", "a network is known by its name"},
    {"title", "a network has no title"},
    {"description", "a network has no description"},
    {"metadata", "a network has no metadata"},
    {"bridge",
     "VMs are on vhost-user ports, and this host by host.interface, which is in no zone of firewalld's"},
    {"route",
     "vmnatd reaches only what is on the network itself; dhcp.routes tells VMs of a router among them"},
    {"vlan", "tags of VMs are switched as they are"},
    {"virtualport", "there is no Open vSwitch"},
};
constexpr std::array<std::string_view, 11> kReadOfNetwork{
    "name",      "forward",         "mac",      "mtu", "domain", "dns", "ip", "port",
    "portgroup", "dnsmasq:options", "bandwidth"};

constexpr NoCounterpart kOfIp[] = {
    {"tftp", "vmnatd serves no files; dhcp.boot names a server that does"},
};
constexpr std::array<std::string_view, 1> kReadOfIp{"dhcp"};

constexpr std::array<std::string_view, 2> kReadOfNat{"address", "port"};

constexpr NoCounterpart kOfForward[] = {
    {"pf", "a VM's NIC is a port"}, {"address", "a VM's NIC is a port"}, {"driver", "a VM's NIC is a port"}};
constexpr std::array<std::string_view, 2> kReadOfForward{"nat", "interface"};

// --- the network ------------------------------------------------------------------------------------------

// A name of letters, digits, '-', '_' and '.', as near as it gets.
std::string name_like(std::string name) {
  std::ranges::replace_if(
      name, [](char c) { return !config::identifier("a" + std::string(1, c)); }, '-');
  name.erase(0, std::min(name.size(), name.find_first_not_of("-_.")));
  name.resize(std::min<std::size_t>(name.size(), 63));
  return name.empty() || name == "uplink" ? std::string{kAnyName} : name;
}

bool is_isolated(xml_node network) {
  return !network.child("forward");
}

void write_forward(SettlingYaml& yaml, xml_node network) {
  const xml_node forward = network.child("forward");
  const std::string mode = mode_of(network);
  const bool is_routed = mode == "route" || mode == "open";
  if (is_isolated(network)) return yaml.line(kNetwork, "forward: none");
  if (!is_routed && mode != "nat")
    tell(yaml, kNetwork, forward,
         "the host's own network is no matter of vmnatd's; this is an isolated one instead");
  yaml.line(kNetwork, is_routed ? "forward: route" : mode == "nat" ? "forward: nat" : "forward: none");
  tell_others(yaml, kNetwork, forward, kReadOfForward, kOfForward);
}

void write_nat(SettlingYaml& yaml, xml_node network) {
  const xml_node nat = network.child("forward").child("nat");
  if (!nat || mode_of(network) != "nat") return;
  yaml.line(kNetwork, "nat:");
  if (nat.attribute("ipv6")) tell(yaml, kInNetwork, nat, "IPv6 stays between the VMs of a network");
  if (const xml_node address = nat.child("address"))
    yaml.line(kInNetwork, "addresses: [" + yaml_quoted(range_of(address)) + "]");
  if (const xml_node port = nat.child("port")) yaml.line(kInNetwork, "ports: " + yaml_quoted(range_of(port)));
  tell_others(yaml, kInNetwork, nat, kReadOfNat, {});
}

void tell_other_addresses(SettlingYaml& yaml, xml_node network, xml_node chosen) {
  for (const xml_node ip : network.children("ip"))
    if (ip != chosen)
      tell(yaml, kNetwork, ip,
           is_ipv4(ip) ? "a network has one address" : "IPv6 stays between the VMs of a network");
  tell_others(yaml, kNetwork, chosen, kReadOfIp, kOfIp);
}

bool has_isolated_ports(xml_node of) {
  return std::string_view{of.child("port").attribute("isolated").value()} == "yes";
}

// A port that names no portgroup is of the default one.
void write_isolation(SettlingYaml& yaml, xml_node network) {
  const auto is_default = [](xml_node portgroup) { return portgroup.attribute("default").as_bool(); };
  bool is_isolated = has_isolated_ports(network);
  for (const xml_node portgroup : network.children("portgroup")) {
    is_isolated |= is_default(portgroup) && has_isolated_ports(portgroup);
    tell(yaml, kNetwork, portgroup, "a port has its own keys; anchors of YAML spare repeating them");
    if (has_isolated_ports(portgroup) && !is_default(portgroup))
      yaml.comment(kNetwork,
                   fmt::format("isolated are the ports of {} alone: give each of them a group of its own",
                               portgroup.attribute("name").value()));
  }
  if (is_isolated) yaml.line(kNetwork, "isolated_ports: true");
}

void write_network(SettlingYaml& yaml, xml_node network) {
  const std::string name = network.child_value("name");
  const xml_node ip = first_ipv4(network);
  yaml.line(0, "networks:");
  yaml.line(kSection, "- name: " + yaml_quoted(name), "- name: " + yaml_quoted(name_like(name)));
  tell_others(yaml, kNetwork, network, kReadOfNetwork, kOfNetwork);
  for (const auto option : network.child("dnsmasq:options").children())
    tell(yaml, kNetwork, option,
         "dnsmasq is told what `dns` says alone; dhcp.options has other options of DHCP");
  if (network.attribute("ipv6") || network.attribute("trustGuestRxFilters"))
    tell(yaml, kNetwork, network,
         "IPv6 between VMs is switched, and filters of their NICs are their own matter");
  if (!ip) yaml.comment(kNetwork, "the network has no IPv4 address: this one is to be edited");
  yaml.line(kNetwork, "address: " + yaml_quoted(ip ? prefix_of(ip) : std::string{kAnyAddress}),
            fmt::format("address: {}  # to be edited", kAnyAddress));
  if (const xml_node mac = network.child("mac"))
    yaml.line(kNetwork, "mac: " + yaml_quoted(mac.attribute("address").value()));
  if (const xml_node mtu = network.child("mtu"))
    yaml.line(kNetwork, "mtu: " + yaml_quoted(mtu.attribute("size").value()));
  write_forward(yaml, network);
  write_bandwidth(yaml, network);
  write_isolation(yaml, network);
  tell_other_addresses(yaml, network, ip);
  if (has_host(network)) write_host(yaml, network);
  write_dns(yaml, network);
  if (ip.child("dhcp"))
    write_dhcp(yaml, network, ip);
  else if (const xml_node domain = network.child("domain"))
    tell(yaml, kNetwork, domain, "a domain is told by DHCP, and there is none");
  write_nat(yaml, network);
}

// --- the file ---------------------------------------------------------------------------------------------

std::string device_of(xml_node network) {
  const xml_node forward = network.child("forward");
  const std::string device = forward.attribute("dev").value(),
                    listed = forward.child("interface").attribute("dev").value();
  return !device.empty() ? device : !listed.empty() ? listed : std::string{kAnyDevice};
}

void write_head(SettlingYaml& yaml, xml_node network) {
  yaml.comment(0, fmt::format("Made by `vmnatctl import-libvirt` from libvirt's network {}.",
                              network.child_value("name")));
  yaml.comment(0, "VMs' ports are not in it: libvirt's hook of vmnat adds one when a VM starts, and so does");
  yaml.comment(0, "`vmnatctl port add`.");
  yaml.comment(0, "");
  yaml.comment(0,
               "The uplink is to be edited: vmnatd has a device of its own there, where libvirt uses the "
               "host's. A PCI");
  yaml.comment(0,
               "address, or a kernel interface without an address; and dhcp, or an address and a gateway:");
  yaml.comment(0, "  uplink: {device: 0000:3b:00.0, address: 203.0.113.2/24, gateway: 203.0.113.1}");
  yaml.line(0, "uplink:");
  yaml.line(kSection, "device: " + yaml_quoted(device_of(network)), fmt::format("device: {}", kAnyDevice));
  yaml.line(kSection, "address: dhcp");
}

tl::unexpected<std::string> problem_at(std::string_view xml, std::size_t offset, const std::string& file,
                                       std::string_view what) {
  const std::string_view before = xml.substr(0, std::min(offset, xml.size()));
  const auto line = std::ranges::count(before, '\n') + 1;
  const auto start = before.rfind('\n');
  const std::size_t column = before.size() - (start == std::string_view::npos ? 0 : start + 1) + 1;
  return tl::unexpected(fmt::format("{}:{}:{}: {}", file, line, column, what));
}

std::size_t offset_of(xml_node node) {
  return static_cast<std::size_t>(std::max<std::ptrdiff_t>(node.offset_debug(), 0));
}

}  // namespace

tl::expected<std::string, std::string> import_libvirt(std::string_view xml, const std::string& file) {
  pugi::xml_document document;
  const auto parsed = document.load_buffer(xml.data(), xml.size());
  if (!parsed) return problem_at(xml, static_cast<std::size_t>(parsed.offset), file, parsed.description());
  const xml_node network = document.document_element();
  if (std::string_view{network.name()} != "network")
    return problem_at(
        xml, offset_of(network), file,
        fmt::format("<network> is expected, as `virsh net-dumpxml` prints it, not <{}>", network.name()));
  if (const xml_node other = network.next_sibling())
    return problem_at(xml, offset_of(other), file,
                      "there is something behind </network>: one network at a time");
  SettlingYaml yaml;
  write_head(yaml, network);
  write_network(yaml, network);
  return std::move(yaml).settled_text();
}

}  // namespace vmnat::ctl
