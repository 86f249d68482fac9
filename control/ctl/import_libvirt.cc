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
#include "control/ctl/settling_yaml.h"

namespace vmnat::ctl {
namespace {

using pugi::xml_node;

constexpr unsigned kSection = 2, kNetwork = 4, kInNetwork = 6, kItem = 8;  // indents
constexpr std::string_view kAnyName = "default", kAnyAddress = "192.168.122.1/24", kAnyDevice = "eth0";

// "<bridge name='virbr0' stp='on'>"
std::string tag_of(xml_node element) {
  std::string tag = fmt::format("<{}", element.name());
  for (const auto attribute : element.attributes())
    tag += fmt::format(" {}='{}'", attribute.name(), attribute.value());
  return tag + '>';
}

struct NoCounterpart {
  std::string_view element, why;
};

void tell(SettlingYaml& yaml, unsigned indent, xml_node element, std::string_view why) {
  yaml.comment(indent, fmt::format("{}: {}", tag_of(element), why));
}

// Comments for all children that have no counterpart: those that are named, with the reason, and those that nobody
// knows. `known` are read elsewhere.
void tell_others(SettlingYaml& yaml, unsigned indent, xml_node parent,
                 std::span<const std::string_view> known, std::span<const NoCounterpart> reasons) {
  for (const xml_node child : parent.children()) {
    if (child.type() != pugi::node_element || std::ranges::find(known, child.name()) != known.end()) continue;
    const auto reason = std::ranges::find(reasons, child.name(), &NoCounterpart::element);
    tell(yaml, indent, child, reason == reasons.end() ? "is not known here" : reason->why);
  }
}

constexpr NoCounterpart kOfNetwork[] = {
    {"uuid", "a network is known by its name"},
    {"title", "a network has no title"},
    {"description", "a network has no description"},
    {"metadata", "a network has no metadata"},
    {"bridge",
     "VMs are on vhost-user ports; vmnatd switches between them itself, without STP or a zone of firewalld"},
    {"route",
     "vmnatd reaches only what is on the network itself; dhcp.routes tells VMs of a router among them"},
    {"bandwidth", "rates are not limited"},
    {"vlan", "tags of VMs are switched as they are"},
    {"virtualport", "there is no Open vSwitch"},
    {"portgroup", "a port has its own keys; anchors of YAML spare repeating them"},
};
constexpr std::array<std::string_view, 9> kReadOfNetwork{
    "name", "forward", "mac", "mtu", "domain", "dns", "ip", "port", "dnsmasq:options"};

constexpr NoCounterpart kOfIp[] = {
    {"tftp", "vmnatd serves no files; dhcp.boot names a server that does"},
};
constexpr std::array<std::string_view, 1> kReadOfIp{"dhcp"};

constexpr NoCounterpart kOfDns[] = {
    {"host", "vmnatd answers no DNS"}, {"txt", "vmnatd answers no DNS"}, {"srv", "vmnatd answers no DNS"}};
constexpr std::array<std::string_view, 1> kReadOfDns{"forwarder"};

constexpr std::array<std::string_view, 2> kReadOfNat{"address", "port"};

constexpr NoCounterpart kOfForward[] = {
    {"pf", "a VM's NIC is a port"}, {"address", "a VM's NIC is a port"}, {"driver", "a VM's NIC is a port"}};
constexpr std::array<std::string_view, 2> kReadOfForward{"nat", "interface"};

// --- addresses --------------------------------------------------------------------------------------------

// "255.255.255.0" is 24; nothing: it is no mask.
std::optional<unsigned> length_of_mask(std::string_view mask) {
  const auto address = net::parse_ipv4(mask);
  if (!address || std::countl_one(address->host()) + std::countr_zero(address->host()) < 32)
    return std::nullopt;
  return std::countl_one(address->host());
}

// Without a mask libvirt goes by the address's class.
unsigned length_of_class(std::string_view text) {
  const auto address = net::parse_ipv4(text);
  const std::uint32_t bits = address ? address->host() : 0;
  return bits >> 31 == 0 ? 8 : bits >> 30 == 2 ? 16 : 24;
}

std::string prefix_of(xml_node ip) {
  const std::string address = ip.attribute("address").value(), length = ip.attribute("prefix").value();
  if (!length.empty()) return address + '/' + length;
  if (const pugi::xml_attribute mask = ip.attribute("netmask")) {
    const auto bits = length_of_mask(mask.value());
    return fmt::format("{}/{}", address, bits ? std::to_string(*bits) : mask.value());
  }
  return fmt::format("{}/{}", address, length_of_class(address));
}

std::string range_of(xml_node range) {
  return fmt::format("{}-{}", range.attribute("start").value(), range.attribute("end").value());
}

bool is_ipv4(xml_node ip) {
  const std::string_view family = ip.attribute("family").value();
  return family.empty() || family == "ipv4";
}

xml_node first_ipv4(xml_node network) {
  return network.find_child(
      [](xml_node child) { return std::string_view{child.name()} == "ip" && is_ipv4(child); });
}

// --- DHCP -------------------------------------------------------------------------------------------------

// "90m" of <lease expiry='90' unit='minutes'/>; empty: libvirt's default, which is vmnatd's.
std::string lease_time_of(xml_node lease) {
  const std::string expiry = lease.attribute("expiry").value(), unit = lease.attribute("unit").value();
  if (expiry.empty()) return {};
  if (expiry == "0") return "infinite";
  return expiry + (unit == "seconds" ? "s" : unit == "hours" ? "h" : "m");
}

class Dhcp {
 public:
  Dhcp(SettlingYaml& yaml, xml_node network, xml_node ip)
      : yaml_(yaml), network_(network), dhcp_(ip.child("dhcp")), ip_(ip) {}

  void write() {
    yaml_.line(kNetwork, "dhcp:");
    ranges();
    lease_time();
    resolvers();
    domain();
    boot();
    reservations();
    tell_others(yaml_, kInNetwork, dhcp_, kReadOfDhcp, {});
  }

 private:
  static constexpr std::array<std::string_view, 3> kReadOfDhcp{"range", "host", "bootp"};

  void ranges() {
    if (!dhcp_.child("range")) return;
    yaml_.line(kInNetwork, "ranges:");
    for (const xml_node range : dhcp_.children("range"))
      yaml_.line(kItem, "- " + yaml_quoted(range_of(range)));
  }

  // One for the whole network.
  void lease_time() {
    std::string chosen;
    for (const char* kind : {"range", "host"})
      for (const xml_node owner : dhcp_.children(kind)) {
        const xml_node lease = owner.child("lease");
        const std::string time = lease_time_of(lease);
        if (time.empty()) continue;
        if (chosen.empty())
          yaml_.line(kInNetwork, "lease_time: " + yaml_quoted(time));
        else if (chosen != time)
          tell(yaml_, kInNetwork, lease, "all leases of a network last equally long");
        if (chosen.empty()) chosen = time;
      }
  }

  // libvirt's VMs ask the gateway; these ask whom the gateway would.
  void resolvers() {
    const xml_node dns = network_.child("dns");
    if (std::string_view{dns.attribute("enable").value()} == "no") return yaml_.line(kInNetwork, "dns: []");
    std::string servers;
    for (const xml_node forwarder : dns.children("forwarder")) {
      if (forwarder.attribute("domain") || !forwarder.attribute("addr")) {
        tell(yaml_, kInNetwork, forwarder, "VMs ask the resolvers of `dns` whatever the name");
        continue;
      }
      servers += (servers.empty() ? "" : ", ") + yaml_quoted(forwarder.attribute("addr").value());
    }
    if (servers.empty())
      yaml_.comment(kInNetwork,
                    "dns: VMs are told the resolvers of this host, where libvirt has the gateway answer");
    else
      yaml_.line(kInNetwork, "dns: [" + servers + "]");
  }

  void domain() {
    const xml_node domain = network_.child("domain");
    if (!domain) return;
    yaml_.line(kInNetwork, "domain: " + yaml_quoted(domain.attribute("name").value()));
    if (domain.attribute("localOnly") || domain.attribute("register"))
      tell(yaml_, kInNetwork, domain, "the name is told by DHCP, and nobody answers for it");
  }

  void boot() {
    const xml_node bootp = dhcp_.child("bootp");
    if (!bootp) return;
    const pugi::xml_attribute server = bootp.attribute("server");
    yaml_.line(kInNetwork,
               fmt::format("boot: {{server: {}, file: {}}}",
                           yaml_quoted(server ? server.value() : ip_.attribute("address").value()),
                           yaml_quoted(bootp.attribute("file").value())));
  }

  void reservations() {
    const auto hosts = dhcp_.children("host");
    if (std::any_of(hosts.begin(), hosts.end(), is_reservation)) yaml_.line(kInNetwork, "reservations:");
    for (const xml_node host : dhcp_.children("host")) reservation(host);
  }

  static bool is_reservation(xml_node host) {
    return *host.attribute("mac").value() != '\0' && *host.attribute("ip").value() != '\0';
  }

  void reservation(xml_node host) {
    const std::string mac = host.attribute("mac").value(), address = host.attribute("ip").value();
    const std::string name = host.attribute("name").value();
    if (!is_reservation(host))
      return tell(yaml_, kItem, host, "a reservation is an address for a MAC address or a port");
    const bool has_hostname = !name.empty() && config::host_name(name);
    yaml_.line(kItem, fmt::format("- {{mac: {}, address: {}{}}}", yaml_quoted(mac), yaml_quoted(address),
                                  has_hostname ? ", hostname: " + yaml_quoted(name) : ""));
    if (!name.empty() && !has_hostname)
      tell(yaml_, kItem, host, "a hostname is one label, of letters, digits and '-'");
  }

  SettlingYaml& yaml_;
  xml_node network_, dhcp_, ip_;
};

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

std::string mode_of(xml_node network) {
  const std::string mode = network.child("forward").attribute("mode").value();
  return mode.empty() ? "nat" : mode;  // as libvirt reads it
}

void write_forward(SettlingYaml& yaml, xml_node network) {
  const xml_node forward = network.child("forward");
  const std::string mode = mode_of(network);
  const bool is_routed = mode == "route" || mode == "open";
  if (is_isolated(network)) return yaml.line(kNetwork, "forward: none");
  if (is_routed)
    tell(yaml, kNetwork, forward,
         "vmnatd translates what leaves a network; VMs reach the outside, which does not reach them");
  else if (mode != "nat")
    tell(yaml, kNetwork, forward,
         "the host's own network is no matter of vmnatd's; this is an isolated one instead");
  yaml.line(kNetwork, is_routed || mode == "nat" ? "forward: nat" : "forward: none");
  tell_others(yaml, kNetwork, forward, kReadOfForward, kOfForward);
}

void write_nat(SettlingYaml& yaml, xml_node network) {
  const xml_node nat = network.child("forward").child("nat");
  if (!nat || is_isolated(network)) return;
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
  if (chosen.attribute("localPtr")) tell(yaml, kNetwork, chosen, "localPtr: vmnatd answers no DNS");
  tell_others(yaml, kNetwork, chosen, kReadOfIp, kOfIp);
}

void write_network(SettlingYaml& yaml, xml_node network) {
  const std::string name = network.child_value("name");
  const xml_node ip = first_ipv4(network);
  yaml.line(0, "networks:");
  yaml.line(kSection, "- name: " + yaml_quoted(name), "- name: " + yaml_quoted(name_like(name)));
  tell_others(yaml, kNetwork, network, kReadOfNetwork, kOfNetwork);
  for (const auto option : network.child("dnsmasq:options").children())
    tell(yaml, kNetwork, option, "there is no dnsmasq; dhcp.options has other options of DHCP");
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
  if (std::string_view{network.child("port").attribute("isolated").value()} == "yes")
    yaml.line(kNetwork, "isolated_ports: true");
  tell_other_addresses(yaml, network, ip);
  tell_others(yaml, kNetwork, network.child("dns"), kReadOfDns, kOfDns);
  if (ip.child("dhcp")) Dhcp(yaml, network, ip).write();
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
