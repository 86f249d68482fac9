// SPDX-License-Identifier: Apache-2.0
#include "control/dns/dns_text.h"

#include <algorithm>
#include <cctype>
#include <fmt/format.h>
#include <set>
#include <string_view>
#include <vector>

#include "control/config/words.h"

namespace vmnat::control {
namespace {

// Names that programs of a guest rely on being nobody's in particular: no guest may call itself so.
constexpr std::string_view kNobodys[] = {"localhost", "wpad", "isatap"};

std::string domain_of(const config::Network& network) {
  return network.dhcp ? network.dhcp->domain : std::string{};
}

// Names are one whatever the case of their letters (RFC 4343).
std::string lower(std::string name) {
  std::ranges::transform(name, name.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

// "9.9.9.9#53", as dnsmasq writes a port.
std::string server_text(net::Endpoint server) {
  return fmt::format("{}#{}", net::to_string(server.address), server.port.host());
}

// The domain's names are here alone, unless the file says who else knows them; so are the names of the network's
// addresses (RFC 6303).
bool is_local(const std::string& domain, const config::Dns& dns) {
  return !domain.empty() &&
         std::ranges::find(dns.domain_forwarders, domain, &config::Entry<std::vector<net::Endpoint>>::name) ==
             dns.domain_forwarders.end();
}

bool has_reverse_forwarder(const config::Dns& dns) {
  return std::ranges::any_of(dns.domain_forwarders,
                             [](const auto& entry) { return lower(entry.name).ends_with("in-addr.arpa"); });
}

std::string forwarding_text(const config::Dns& dns, const DnsPlaces& places) {
  std::string text;
  for (const auto& [domain, servers] : dns.domain_forwarders)
    for (const net::Endpoint& server : servers)
      text += fmt::format("server=/{}/{}\n", domain, server_text(server));
  if (dns.forwarders.empty()) return text + fmt::format("resolv-file={}\n", places.resolv_conf);
  text += "no-resolv\n";
  for (const net::Endpoint& server : dns.forwarders) text += fmt::format("server={}\n", server_text(server));
  return text;
}

std::string record_text(const config::Dns& dns, const std::string& own_domain) {
  std::string text;
  for (const auto& [name, content] : dns.txt) text += fmt::format("txt-record={},\"{}\"\n", name, content);
  for (const config::DnsSrv& srv : dns.srv) {
    const std::string& domain = srv.domain.empty() ? own_domain : srv.domain;
    text +=
        fmt::format("srv-host=_{}._{}{}{},{},{},{},{}\n", srv.service, config::to_word(srv.protocol),
                    domain.empty() ? "" : ".", domain, srv.target, srv.port.host(), srv.priority, srv.weight);
  }
  return text;
}

// "Web1.lab.example" in lab.example is "web1" there; a name of another domain is whole.
std::string name_within(const std::string& domain, const std::string& name) {
  const std::string whole = lower(name), tail = '.' + lower(domain);
  return !domain.empty() && whole.ends_with(tail) ? whole.substr(0, whole.size() - tail.size()) : whole;
}

// What a guest may call itself: a name of the network's own domain. With one of another domain it would answer for
// that.
bool may_be_guests(const std::string& name) {
  return !name.empty() && name.find('.') == std::string::npos &&
         std::ranges::find(kNobodys, name) == std::end(kNobodys);
}

class Lines {
 public:
  explicit Lines(std::string domain) : domain_(std::move(domain)) {}

  void add(net::Ipv4Addr address, const std::string& name) {
    if (!names_.insert(name).second) return;
    const bool is_whole = name.find('.') != std::string::npos || domain_.empty();
    text_ += is_whole ? fmt::format("{} {}\n", net::to_string(address), name)
                      : fmt::format("{} {}.{} {}\n", net::to_string(address), name, domain_, name);
  }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  std::string domain_, text_;
  std::set<std::string> names_;
};

bool has_reservation(const config::Network& network, const dhcp::Lease& lease) {
  return lease.state == dhcp::LeaseState::Reserved ||
         std::ranges::any_of(network.dhcp->reservations, [&](const config::Reservation& reservation) {
           return reservation.address == lease.address && reservation.hostname == lease.hostname;
         });
}

}  // namespace

std::string dnsmasq_configuration(const config::Network& network, const DnsPlaces& places) {
  const config::Dns dns = network.dns.value_or(config::Dns{});
  const std::string domain = domain_of(network);
  std::string text = fmt::format(
      "# made by vmnatd for network {}; changes are lost\n"
      "keep-in-foreground\nlog-facility=-\npid-file\n"
      "bind-dynamic\ninterface={}\nexcept-interface=lo\n"
      "no-hosts\nhostsdir={}\n"
      "proxy-dnssec\ncache-size=1000\n",
      network.name, network.host->interface, places.hosts_directory);
  if (is_local(domain, dns)) text += fmt::format("local=/{}/\n", domain);
  if (!has_reverse_forwarder(dns))
    text += fmt::format("rev-server={}\n",
                        net::to_string(net::Ipv4Prefix{network.address.first(), network.address.length}));
  return text + record_text(dns, domain) + forwarding_text(dns, places);
}

std::string dns_hosts(const config::Network& network, std::span<const dhcp::Lease> leases) {
  const std::string domain = domain_of(network);
  Lines lines(domain);
  if (network.dns)
    for (const auto& [name, address] : network.dns->hosts) lines.add(address, name_within(domain, name));
  std::vector<const dhcp::Lease*> named;
  for (const dhcp::Lease& lease : leases) {
    const bool counts = lease.state == dhcp::LeaseState::Bound || lease.state == dhcp::LeaseState::Reserved;
    if (counts && may_be_guests(name_within(domain, lease.hostname))) named.push_back(&lease);
  }
  std::ranges::sort(named, {}, &dhcp::Lease::address);
  std::stable_partition(named.begin(), named.end(),
                        [&](const dhcp::Lease* lease) { return has_reservation(network, *lease); });
  for (const dhcp::Lease* lease : named) lines.add(lease->address, name_within(domain, lease->hostname));
  return lines.take();
}

}  // namespace vmnat::control
