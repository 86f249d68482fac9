// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "control/config/values.h"
#include "control/ctl/libvirt_elements.h"

namespace vmnat::ctl {
namespace {

using pugi::xml_node;

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

  // The default of vmnatd's is libvirt's: the gateway where it answers.
  void resolvers() {
    if (!serves_dns(network_)) yaml_.line(kInNetwork, "dns: []");
  }

  void domain() {
    const xml_node domain = network_.child("domain");
    if (!domain) return;
    yaml_.line(kInNetwork, "domain: " + yaml_quoted(domain.attribute("name").value()));
    if (std::string_view{domain.attribute("localOnly").value()} != "yes" || domain.attribute("register"))
      tell(yaml_, kInNetwork, domain,
           "names in it that are not known here are asked of nobody; the host's own resolver is not told");
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

}  // namespace

void write_dhcp(SettlingYaml& yaml, xml_node network, xml_node ip) {
  Dhcp(yaml, network, ip).write();
}

}  // namespace vmnat::ctl
