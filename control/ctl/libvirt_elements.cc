// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/libvirt_elements.h"

#include <algorithm>
#include <bit>
#include <fmt/format.h>

#include "net/address.h"

namespace vmnat::ctl {

using pugi::xml_node;

namespace {

// "<bridge name='virbr0' stp='on'>"
std::string tag_of(xml_node element) {
  std::string tag = fmt::format("<{}", element.name());
  for (const auto attribute : element.attributes())
    tag += fmt::format(" {}='{}'", attribute.name(), attribute.value());
  return tag + '>';
}

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

}  // namespace

void tell(SettlingYaml& yaml, unsigned indent, xml_node element, std::string_view why) {
  yaml.comment(indent, fmt::format("{}: {}", tag_of(element), why));
}

void tell_others(SettlingYaml& yaml, unsigned indent, xml_node parent,
                 std::span<const std::string_view> known, std::span<const NoCounterpart> reasons) {
  for (const xml_node child : parent.children()) {
    if (child.type() != pugi::node_element || std::ranges::find(known, child.name()) != known.end()) continue;
    const auto reason = std::ranges::find(reasons, child.name(), &NoCounterpart::element);
    tell(yaml, indent, child, reason == reasons.end() ? "is not known here" : reason->why);
  }
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

std::string mode_of(xml_node network) {
  const xml_node forward = network.child("forward");
  const std::string mode = forward.attribute("mode").value();
  return forward && mode.empty() ? "nat" : mode;  // as libvirt reads it
}

bool has_host(xml_node network) {
  static constexpr std::string_view kOfABridgeOfLibvirts[] = {"", "nat", "route", "open"};
  return first_ipv4(network) &&
         std::ranges::find(kOfABridgeOfLibvirts, mode_of(network)) != std::end(kOfABridgeOfLibvirts);
}

bool serves_dns(xml_node network) {
  return has_host(network) && std::string_view{network.child("dns").attribute("enable").value()} != "no";
}

}  // namespace vmnat::ctl
