// SPDX-License-Identifier: Apache-2.0
// Text forms of leases for other programs.
#include "dhcp/exports.h"

namespace vmnat::dhcp {
namespace {

// "01:52:54:00": how both forms write a client-id.
std::string colon_hex(ByteView bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : bytes) {
    if (!text.empty()) text += ':';
    text += kDigits[static_cast<unsigned>(byte) >> 4];
    text += kDigits[static_cast<unsigned>(byte) & 15];
  }
  return text;
}

// 0: never, as dnsmasq writes it.
std::string epoch_seconds(WallTime time) {
  if (time == kNever) return "0";
  return std::to_string(std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count());
}

void add_member(std::string& json, std::string_view name, std::string_view value) {
  json.append("    \"").append(name).append("\": \"").append(value).append("\",\n");
}

}  // namespace

std::string dnsmasq_lease_lines(std::span<const Lease> leases) {
  std::string lines;
  for (const Lease& lease : leases) {
    if (lease.state != LeaseState::Bound) continue;
    const std::string fields[] = {epoch_seconds(lease.expires), net::to_string(lease.mac),
                                  net::to_string(lease.address),
                                  lease.hostname.empty() ? "*" : lease.hostname,
                                  lease.client_id.empty() ? "*" : colon_hex(lease.client_id)};
    for (const std::string& field : fields)
      lines.append(lines.empty() || lines.back() == '\n' ? "" : " ").append(field);
    lines += '\n';
  }
  return lines;
}

std::string libvirt_status(std::span<const Lease> leases) {
  std::string json = "[";
  for (const Lease& lease : leases) {
    if (lease.state != LeaseState::Bound) continue;
    json += json.size() == 1 ? "\n  {\n" : ",\n  {\n";
    add_member(json, "ip-address", net::to_string(lease.address));
    add_member(json, "mac-address", net::to_string(lease.mac));
    if (!lease.hostname.empty()) add_member(json, "hostname", lease.hostname);
    if (!lease.client_id.empty()) add_member(json, "client-id", colon_hex(lease.client_id));
    json.append("    \"expiry-time\": ").append(epoch_seconds(lease.expires)).append("\n  }");
  }
  return json + "\n]\n";
}

}  // namespace vmnat::dhcp
