// SPDX-License-Identifier: Apache-2.0
// Elements of libvirt's network XML, as the parts of the import read them.
#pragma once

#include <optional>
#include <pugixml.hpp>
#include <span>
#include <string>
#include <string_view>

#include "control/ctl/settling_yaml.h"

namespace vmnat::ctl {

inline constexpr unsigned kSection = 2, kNetwork = 4, kInNetwork = 6, kItem = 8;  // indents of the file

struct NoCounterpart {
  std::string_view element, why;
};

// A comment: the element's tag, and why it has no counterpart.
void tell(SettlingYaml& yaml, unsigned indent, pugi::xml_node element, std::string_view why);
// Comments for all children that have no counterpart: those that are named, with the reason, and those that nobody
// knows. `known` are read elsewhere.
void tell_others(SettlingYaml& yaml, unsigned indent, pugi::xml_node parent,
                 std::span<const std::string_view> known, std::span<const NoCounterpart> reasons);

// "192.168.122.1/24" of <ip address='192.168.122.1' netmask='255.255.255.0'/>.
std::string prefix_of(pugi::xml_node ip);
// "192.168.122.2-192.168.122.254" of <range start='192.168.122.2' end='192.168.122.254'/>.
std::string range_of(pugi::xml_node range);
bool is_ipv4(pugi::xml_node ip);
pugi::xml_node first_ipv4(pugi::xml_node network);
// Whether libvirt's host has an address on the network.
bool has_host(pugi::xml_node network);
// Whether libvirt's host answers DNS there.
bool serves_dns(pugi::xml_node network);
// <forward mode='nat'>: "nat", "route" ...; "" is an isolated network.
std::string mode_of(pugi::xml_node network);

// --- parts of the network's section -----------------------------------------------------------------------

// libvirt's bridge has the gateway's address on the host.
void write_host(SettlingYaml& yaml, pugi::xml_node network);
// What libvirt's dnsmasq is told of names.
void write_dns(SettlingYaml& yaml, pugi::xml_node network);
// The limit that all VMs share.
void write_bandwidth(SettlingYaml& yaml, pugi::xml_node network);
void write_dhcp(SettlingYaml& yaml, pugi::xml_node network, pugi::xml_node ip);

}  // namespace vmnat::ctl
