// SPDX-License-Identifier: Apache-2.0
// <bandwidth>: libvirt hands its numbers to tc, as kilobytes of 1000 bytes a second (kbps) and bursts of 1024 (kb).
// "inbound" is what the VMs get, whatever it stands at.
#include <fmt/format.h>

#include "control/config/values.h"
#include "control/ctl/libvirt_elements.h"

namespace vmnat::ctl {
namespace {

using pugi::xml_node;

// "8000K" of 1000 kilobytes a second. Of what is no number the text, which is refused with a reason.
std::string rate_of(const char* kilobytes) {
  constexpr std::uint64_t kMost = 1'000'000'000;
  const auto number = config::number_within(kilobytes, 0, kMost);
  return number ? fmt::format("{}K", *number * 8) : yaml_quoted(kilobytes);
}

std::string direction_of(const char* name, xml_node direction) {
  std::string keys = "rate: " + rate_of(direction.attribute("average").value());
  if (const auto burst = direction.attribute("burst")) {
    const auto number = config::number(burst.value());
    keys += ", burst: " + (number ? fmt::format("{}K", *number) : yaml_quoted(burst.value()));
  }
  if (const auto peak = direction.attribute("peak")) keys += ", peak: " + rate_of(peak.value());
  return fmt::format("{}: {{{}}}", name, keys);
}

}  // namespace

void write_bandwidth(SettlingYaml& yaml, xml_node network) {
  const xml_node bandwidth = network.child("bandwidth");
  if (!bandwidth) return;
  const struct { const char *element, *name; } directions[] = {{"inbound", "in"}, {"outbound", "out"}};
  bool has_heading = false;
  for (const auto& [element, name] : directions) {
    const xml_node direction = bandwidth.child(element);
    if (direction.attribute("floor"))
      tell(yaml, kNetwork, direction,
           "nobody is promised a rate; who shares a limit has an even share of it at least");
    if (!direction.attribute("average")) continue;  // floor alone
    if (!has_heading) yaml.line(kNetwork, "shared_limit:");
    has_heading = true;
    yaml.line(kInNetwork, direction_of(name, direction));
  }
}

}  // namespace vmnat::ctl
